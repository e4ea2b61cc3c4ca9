(() => {
  "use strict";
  const twins = JSON.parse(document.getElementById("colours").textContent);
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const finger = matchMedia("(pointer: coarse)").matches;
  let printing = false;

  // Every colour in a figure is of the light page; on a dark one each is swapped for its twin.
  function swap(value, key) {
    if (Array.isArray(value)) return value.map((item) => swap(item, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, swap(item, name)]));
    }
    return typeof value === "string" && /color/i.test(key) && value in twins ? twins[value] : value;
  }

  function draw(box) {
    const source = document.getElementById(box.id + "-" + box.dataset.variant);
    let figure = JSON.parse(source.textContent);
    if (darkness.matches && !printing) figure = swap(figure, "");
    const narrow = box.clientWidth < 520;
    figure.layout.height = Number(box.dataset.height);
    if (box.dataset.square) figure.layout.height = Math.min(figure.layout.height, box.clientWidth);
    // On a touch screen a finger over a figure scrolls the page; with a mouse it zooms.
    figure.layout.dragmode = finger ? false : "zoom";
    if (narrow) {
      figure.layout.legend.font = { size: 11 };
      figure.layout.annotations = (figure.layout.annotations || []).filter((note) => note.name !== "phase");
    }
    if (printing) figure.layout.width = Math.min(box.clientWidth, 660);
    return Plotly.react(box, figure.data, figure.layout, { displayModeBar: false, responsive: true, showTips: false });
  }

  const boxes = [...document.querySelectorAll(".figure[data-variant]")];
  const drawAll = () => boxes.forEach(draw);

  for (const chooser of document.querySelectorAll("fieldset.switch")) {
    chooser.addEventListener("change", (event) => {
      const box = document.getElementById(chooser.dataset.for);
      const source = document.getElementById(box.id + "-" + event.target.value);
      box.dataset.variant = event.target.value;
      box.setAttribute("aria-label", source.dataset.says);
      const note = document.getElementById(box.id + "-note");
      if (note) note.textContent = source.dataset.note || "";
      draw(box);
    });
  }
  darkness.addEventListener("change", drawAll);
  addEventListener("beforeprint", () => { printing = true; drawAll(); });
  addEventListener("afterprint", () => { printing = false; drawAll(); });
  drawAll();
  document.documentElement.dataset.ready = "yes";
})();
