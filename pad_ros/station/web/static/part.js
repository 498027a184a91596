"use strict";
// The part as points, nearest last; defects as rings in front. Turned by the mouse, a finger, or the arrow keys.
const canvas = document.querySelector("#part");
if (canvas) {
  const pen = canvas.getContext("2d");
  const said = document.querySelector("#part-says");
  const colours = { ADDED: "#ffb000", MISSING: "#ff5fa2", CHANGED: "#5ec8ff", UNKNOWN: "#ffffff" };
  let data = null, yaw = 0.6, pitch = 0.35, zoom = 1, centre = [0, 0, 0], radius = 1, held = null, waiting = false;

  const draw = () => {
    waiting = false;
    const width = canvas.width = canvas.clientWidth * devicePixelRatio;
    const height = canvas.height = canvas.clientHeight * devicePixelRatio;
    const size = 0.45 * zoom * Math.min(width, height) / radius;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    const turn = ([x, y, z]) => {
      const [a, b, c] = [x - centre[0], y - centre[1], z - centre[2]];
      const [u, v] = [cy * a + sy * b, -sy * a + cy * b];
      return [width / 2 + size * u, height / 2 - size * (cp * c - sp * v), cp * v + sp * c];
    };
    const points = data.points.map((p) => [...turn(p), p]).sort((p, q) => q[2] - p[2]);
    const dot = Math.max(1.5, 1.1 * size * radius / Math.sqrt(points.length || 1));  // so that a surface looks closed
    for (const [x, y, , p] of points) {
      pen.fillStyle = `rgb(${p[3]},${p[4]},${p[5]})`;
      pen.fillRect(x - dot / 2, y - dot / 2, dot, dot);
    }
    pen.lineWidth = 2 * devicePixelRatio;
    for (const d of data.defects) {
      const [x, y] = turn(d);
      pen.strokeStyle = colours[d[4]] || "#fff";
      pen.globalAlpha = 0.75;
      pen.beginPath();
      pen.arc(x, y, (4 + 3 * Math.min(d[3], 4)) * devicePixelRatio, 0, 7);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  };
  const renew = () => { if (data && !waiting) { waiting = true; requestAnimationFrame(draw); } };
  const turnBy = (a, b) => { yaw += a; pitch = Math.max(-1.5, Math.min(1.5, pitch + b)); renew(); };

  fetch(canvas.dataset.points).then((answer) => answer.ok ? answer.json() : Promise.reject(answer.status)).then((found) => {
    data = found;
    if (data.points.length) {
      const spread = (i) => data.points.map((p) => p[i]).sort((a, b) => a - b);
      centre = [0, 1, 2].map((i) => { const s = spread(i); const cut = s.length >> 6; return (s[cut] + s[s.length - 1 - cut]) / 2; });
      const far = data.points.map((p) => Math.hypot(p[0] - centre[0], p[1] - centre[1], p[2] - centre[2])).sort((a, b) => a - b);
      radius = far[Math.floor(0.98 * (far.length - 1))] || 1;
    }
    said.textContent = `${data.points.length} points of the part, ${data.defects.length} defects on it.`;
    canvas.dataset.ready = "1";
    renew();
  }).catch(() => { said.textContent = "The model's points cannot be read."; });

  canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    turnBy((event.clientX - held[0]) / 150, (event.clientY - held[1]) / 150);
    held = [event.clientX, event.clientY];
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom = Math.max(0.4, Math.min(8, zoom * (event.deltaY < 0 ? 1.15 : 0.87))); renew(); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[event.key];
    if (turns) { event.preventDefault(); turnBy(...turns); }
    else if (event.key === "+" || event.key === "-") { zoom = Math.max(0.4, Math.min(8, zoom * (event.key === "+" ? 1.2 : 0.83))); renew(); }
  });
  addEventListener("resize", renew);
}
