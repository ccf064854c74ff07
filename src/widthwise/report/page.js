"use strict";
// Without it the page is complete: the tables hold every value, and browsers show those of points.
(() => {
  const NEAR = 28; // pixels from a pointer to the place whose value it gets
  const bar = document.getElementById("widths");
  const tip = document.createElement("div");
  let shown = null;
  tip.id = "tip";
  tip.setAttribute("role", "status");
  document.body.append(tip);

  const isOff = (spot) => spot.classList.contains("off");
  const onScreen = (spot) =>
    new DOMPoint(spot.cx.baseVal.value, spot.cy.baseVal.value).matrixTransform(spot.getScreenCTM());

  function hide() {
    if (shown) shown.classList.remove("on");
    shown = null;
    tip.classList.remove("on");
  }

  function show(spot) {
    if (spot === shown) return;
    hide();
    if (!spot) return;
    shown = spot;
    spot.classList.add("on");
    tip.textContent = spot.dataset.says;
    tip.classList.add("on");
    place();
  }

  function place() {
    if (!shown) return;
    const at = onScreen(shown);
    const room = document.documentElement.clientWidth - tip.offsetWidth - 4;
    tip.style.left = `${Math.max(4, Math.min(at.x - tip.offsetWidth / 2, room))}px`;
    const above = at.y - tip.offsetHeight - 12;
    tip.style.top = `${above < 4 ? at.y + 12 : above}px`;
  }

  function nearest(spots, x, y) {
    let best = null;
    let distance = NEAR;
    for (const spot of spots) {
      if (isOff(spot)) continue;
      const at = onScreen(spot);
      const away = Math.hypot(at.x - x, at.y - y);
      if (away < distance) [best, distance] = [spot, away];
    }
    return best;
  }

  // From place to place: left and right along a curve, up and down from curve to curve.
  function next(curves, key) {
    const seen = curves.map((c) => c.filter((s) => !isOff(s))).filter((c) => c.length);
    if (!seen.length) return null;
    const row = Math.max(0, seen.findIndex((c) => c.includes(shown)));
    const place = seen[row].indexOf(shown);
    if (place < 0 || key === "Home") return seen[0][0];
    if (key === "End") return seen.at(-1).at(-1);
    const all = seen.flat();
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step) return all[(all.indexOf(shown) + step + all.length) % all.length];
    const other = seen[(row + (key === "ArrowUp" ? -1 : 1) + seen.length) % seen.length];
    const x = shown.cx.baseVal.value;
    const away = (s) => Math.abs(s.cx.baseVal.value - x);
    return other.reduce((a, b) => (away(b) < away(a) ? b : a));
  }

  for (const svg of document.querySelectorAll("figure svg")) {
    const spots = [...svg.querySelectorAll(".spot")];
    if (!spots.length) continue;
    const curves = [];
    for (const spot of spots) {
      const title = spot.querySelector("title");
      spot.dataset.says = title.textContent; // else the browser shows it beside ours
      title.remove();
      const last = curves.at(-1)?.at(-1);
      const goesOn = last && last.dataset.w === spot.dataset.w
        && last.cx.baseVal.value <= spot.cx.baseVal.value;
      goesOn ? curves.at(-1).push(spot) : curves.push([spot]);
    }
    svg.tabIndex = 0;
    svg.setAttribute("role", "application");
    svg.setAttribute("aria-roledescription", "figure; arrow keys read its values");
    svg.addEventListener("pointermove", (e) => show(nearest(spots, e.clientX, e.clientY)));
    svg.addEventListener("pointerdown", (e) => show(nearest(spots, e.clientX, e.clientY)));
    svg.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && hide());
    svg.addEventListener("focus", () => svg.matches(":focus-visible") && show(next(curves, "Home")));
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (e) => {
      if (e.key === "Escape") hide();
      if (!/^(Arrow(Up|Down|Left|Right)|Home|End)$/.test(e.key)) return;
      e.preventDefault();
      show(next(curves, e.key));
    });
  }
  document.addEventListener("scroll", place, { passive: true, capture: true });
  document.addEventListener("keydown", (e) => e.key === "Escape" && hide());

  if (!bar) return;
  bar.hidden = false;
  for (const box of bar.querySelectorAll("input")) {
    box.addEventListener("change", () => {
      hide();
      for (const part of document.querySelectorAll(`figure [data-w="${box.value}"]`)) {
        part.classList.toggle("off", !box.checked);
      }
    });
  }
})();
