"use strict";
// Live: the fragment is rendered on the server and renewed every second. Where that fails, the page says so at once: an
// old PASS must not look like a present one.
const live = document.querySelector("[data-live]");
if (live) {
  let failures = 0;
  const same = (link) => [...live.querySelectorAll("a")].filter((other) => other.href === link.href);
  const replace = (text) => {
    const focused = live.contains(document.activeElement) ? document.activeElement : null;
    const place = focused && same(focused).indexOf(focused);
    live.innerHTML = text;  // who works by keyboard stays where he was
    if (focused) same(focused)[place]?.focus({ preventScroll: true });
  };
  const renew = async () => {
    try {
      const answer = await fetch(live.dataset.live, { headers: { "X-Fragment": "1" }, redirect: "error" });
      if (!answer.ok) throw new Error(answer.status);
      const text = await answer.text();
      if (text !== live.dataset.last) {
        replace(text);
        live.dataset.last = text;
      }
      failures = 0;
    } catch (error) {
      failures += 1;
      if (failures >= 3) {
        document.querySelector("#lost").hidden = false;
        for (const shown of live.querySelectorAll(".verdict")) shown.classList.add("stale");
        live.dataset.last = "";
      }
    }
    if (failures === 0) document.querySelector("#lost").hidden = true;
    setTimeout(renew, 1000);
  };
  setTimeout(renew, 1000);
}

// A result whose pictures are not written yet: look again, unless somebody is at work in a form.
if (!live && document.querySelector("[data-pending]")) {
  const again = () => document.activeElement.matches("input, select, textarea") ? setTimeout(again, 2000) : location.reload();
  setTimeout(again, 2000);
}

// Review: a slider between two pictures, zoom, and keys.
const compare = document.querySelector(".compare");
if (compare) {
  const layers = compare.querySelector(".layers");
  const over = compare.querySelector(".over");
  const slider = document.querySelector("#cut");
  let scale = 1, x = 0, y = 0, held = null;
  const cut = () => over && over.style.setProperty("--cut", `${slider.value}%`);
  const place = () => {
    const box = compare.getBoundingClientRect();
    x = Math.min(0, Math.max(x, box.width * (1 - scale)));
    y = Math.min(0, Math.max(y, box.height * (1 - scale)));
    layers.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    compare.classList.toggle("zoomed", scale > 2);
  };
  const zoom = (factor, cx, cy) => {
    const next = Math.min(12, Math.max(1, scale * factor));
    x = cx - (cx - x) * next / scale;
    y = cy - (cy - y) * next / scale;
    scale = next;
    place();
  };
  const middle = (factor) => zoom(factor, compare.clientWidth / 2, compare.clientHeight / 2);
  slider && slider.addEventListener("input", cut);
  cut();
  compare.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = compare.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  compare.addEventListener("pointerdown", (event) => { held = [event.clientX - x, event.clientY - y]; compare.setPointerCapture(event.pointerId); });
  compare.addEventListener("pointermove", (event) => { if (held) { x = event.clientX - held[0]; y = event.clientY - held[1]; place(); } });
  compare.addEventListener("pointerup", () => { held = null; });
  const views = [...document.querySelectorAll("[data-over]")];
  const show = (button) => {
    over.querySelector("img").src = button.dataset.over;
    over.querySelector("img").alt = button.dataset.name;
    document.querySelector("#over-name").textContent = button.dataset.name;
    for (const other of views) other.setAttribute("aria-pressed", String(other === button));
  };
  for (const button of views) button.addEventListener("click", () => show(button));
  document.querySelector("#closer")?.addEventListener("click", () => middle(1.5));
  document.querySelector("#farther")?.addEventListener("click", () => middle(1 / 1.5));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=range]), select, textarea")) return;
    const key = event.key.toLowerCase();
    const opinion = { g: "good", d: "defect", u: "unsure" }[key];
    if (opinion) document.querySelector(`button[value="${opinion}"]`)?.click();
    else if (key === "s") document.querySelector("#later")?.click();
    else if (key === "+" || key === "=") middle(1.5);
    else if (key === "-") middle(1 / 1.5);
    else if (["1", "2", "3"].includes(key) && views[key - 1]) show(views[key - 1]);
    else if (slider && event.target !== slider && (key === "arrowleft" || key === "arrowright")) {
      slider.value = Number(slider.value) + (key === "arrowleft" ? -5 : 5);
      cut();
    }
  });
}

// Threshold: what the slider's value would have done, worked out here from the reviewed scores.
const threshold = document.querySelector("#at");
if (threshold) {
  const data = JSON.parse(document.querySelector("#scores").textContent);
  const line = document.querySelector("#chosen");
  const write = (id, text) => { document.querySelector(id).textContent = text; };
  const total = data.all.reduce((sum, [, count]) => sum + count, 0);
  const effect = (at) => [
    data.good.filter((score) => score > at).length,
    data.defective.filter((score) => score <= at).length,
    total ? 100 * data.all.reduce((sum, [score, count]) => sum + (score > at ? count : 0), 0) / total : 0,
  ];
  const renew = () => {
    const at = Number(threshold.value);
    write("#at-text", at.toFixed(3));
    const place = 40 + 920 * Math.min(at / data.top, 1);
    line.setAttribute("x1", place);
    line.setAttribute("x2", place);
    [at / data.step, at, at * data.step].forEach((value, i) => {
      const [rejected, passed, share] = effect(value);
      write(`#value-${i}`, value.toFixed(3));
      write(`#rejected-${i}`, rejected);
      write(`#passed-${i}`, passed);
      write(`#share-${i}`, `${share.toFixed(2)} %`);
    });
  };
  threshold.addEventListener("input", renew);
}

// A change of a choice in a form of filters asks for the page anew.
for (const choice of document.querySelectorAll("select[data-go]")) choice.addEventListener("change", () => choice.form.submit());

// Models: work in progress is looked at again.
if (document.querySelector("[data-working]")) setTimeout(() => location.reload(), 3000);
