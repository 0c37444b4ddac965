// Runs before the first paint, so that a page kept dark does not flash light.
try {
  const kept = localStorage.getItem("handmade-theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch {
  // storage may be forbidden; then the system's choice holds
}
