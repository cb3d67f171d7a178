"""What a sample costs: operations counted while a step is executed, time, memory."""
