"use strict";
// Shows the content weights of the candidate that is pointed at, tapped, or chosen by key.
for (const user of document.querySelectorAll(".user")) {
  const bars = user.querySelectorAll(".weight");
  const candidates = user.querySelectorAll("[data-weights]");
  const choose = (candidate) => {
    candidate.dataset.weights.split(",").forEach((weight, place) => {
      bars[place].textContent = weight;
      bars[place].style.setProperty("--length", Math.abs(weight));
      bars[place].classList.toggle("negative", weight < 0);
    });
    for (const other of candidates) other.setAttribute("aria-pressed", other === candidate);
  };
  for (const candidate of candidates) {
    for (const event of ["click", "mouseenter", "focus"]) candidate.addEventListener(event, () => choose(candidate));
  }
}
