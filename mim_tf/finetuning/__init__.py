"""Stage 2: C-SFT, content-interest-aware supervised fine-tuning."""
