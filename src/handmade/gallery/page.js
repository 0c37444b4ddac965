"use strict";
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const root = document.documentElement;
root.classList.add("js");

// Theme: what the system says, until the reader says otherwise.
const button = document.getElementById("theme");
const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
try { const kept = localStorage.getItem("handmade-theme"); if (kept) root.dataset.theme = kept; } catch { /* a local file may keep nothing */ }
name();
button.addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  try { localStorage.setItem("handmade-theme", root.dataset.theme); } catch { /* as above */ }
  name();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);

// A screen draws the moment `at`, a place between two frames.
function pictures(screen) {
  const frames = [...screen.querySelectorAll("img")];
  for (const frame of frames) frame.hidden = false;
  screen.classList.add("live");
  return (at) => {
    const low = Math.floor(at), share = at - low;
    frames.forEach((frame, i) => { frame.style.opacity = i === low ? 1 : i === low + 1 ? share : 0; });
  };
}
function points(screen, frames) {
  const dots = [...screen.querySelectorAll(".dots circle")];
  return (at) => {
    const low = Math.floor(at), share = at - low, a = frames[low], b = frames[Math.min(low + 1, frames.length - 1)];
    dots.forEach((dot, i) => {
      const from = a[i] || b[i], to = b[i] || a[i];
      dot.style.display = from ? "" : "none";
      if (!from) return;
      dot.setAttribute("cx", (from[0] + (to[0] - from[0]) * share) / 10);
      dot.setAttribute("cy", (from[1] + (to[1] - from[1]) * share) / 10);
    });
  };
}
function lines(screen) {
  const frames = [...screen.querySelectorAll(".lines")];
  return (at) => frames.forEach((frame, i) => { frame.hidden = i !== Math.round(at); });
}

for (const stage of document.querySelectorAll("figure.stage")) {
  const data = JSON.parse(stage.querySelector("script").textContent);
  const range = stage.querySelector("input"), play = stage.querySelector(".play"), told = stage.querySelector("output");
  if (!range) continue;
  const screen = stage.querySelector(".screen"), last = data.steps.length - 1;
  const draw = { pictures, points, text: lines }[data.kind](screen, data.frames);
  const marks = [...stage.closest("section").querySelectorAll(".now")];

  function show(at) {
    range.value = at;
    draw(at);
    const near = Math.round(at), low = Math.floor(at), high = Math.min(low + 1, last);
    told.textContent = `step ${data.steps[near].toLocaleString("en")}, after ${data.times[near]}`;
    range.setAttribute("aria-valuetext", told.textContent);
    const step = data.steps[low] + (data.steps[high] - data.steps[low]) * (at - low);
    for (const mark of marks) {
      const { left, right, last: end } = mark.dataset;
      mark.setAttribute("transform", `translate(${+left + (right - left) * Math.min(1, step / end)})`);
      mark.classList.toggle("seen", at < last);
    }
  }

  let playing = 0;
  function stop() {
    cancelAnimationFrame(playing);
    playing = 0;
    play.classList.remove("playing");
    play.setAttribute("aria-pressed", "false");
  }
  function start() {
    const from = +range.value >= last - 0.01 ? 0 : +range.value, whole = Math.min(9000, 1200 + 380 * last);
    let began = null;
    play.classList.add("playing");
    play.setAttribute("aria-pressed", "true");
    const tick = (now) => {
      began ??= now;
      const at = Math.min(last, from + ((now - began) / whole) * last);
      show(at);
      if (at < last) playing = requestAnimationFrame(tick); else stop();
    };
    playing = requestAnimationFrame(tick);
  }
  play.addEventListener("click", () => { if (playing) stop(); else start(); });
  range.addEventListener("input", () => { stop(); show(+range.value); });
  range.addEventListener("keydown", (event) => {   // one frame a key: "any" alone would move by a hundredth
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    stop();
    show(Math.min(last, Math.max(0, Math.round(+range.value) + by)));
  });
  show(last);

  // Play once when it comes into view, unless the reader wants no motion or was here before.
  if (!calm && "IntersectionObserver" in window && last > 1) {
    const watch = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) return;
      watch.disconnect();
      if (+range.value === last) start();
    }, { threshold: 0.7 });
    watch.observe(screen);
  }
}

for (const copy of document.querySelectorAll(".copy")) {
  const code = copy.parentElement.querySelector("code");
  copy.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(code.textContent); copy.textContent = "Copied"; } catch {
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 1600);
  });
}
for (const term of document.querySelectorAll(".term")) {   // an explanation opens to the side that has room for it
  const turn = () => term.classList.toggle("leftward", term.getBoundingClientRect().left + 290 > innerWidth);
  term.addEventListener("mouseenter", turn);
  term.addEventListener("focus", turn);
}
addEventListener("keydown", (event) => {   // Escape closes an explanation without moving the focus
  const open = event.key === "Escape" && document.querySelector(".term:hover, .term:focus");
  if (!open) return;
  open.classList.add("shut");
  open.addEventListener("blur", () => open.classList.remove("shut"), { once: true });
  open.addEventListener("mouseleave", () => open.classList.remove("shut"), { once: true });
});
