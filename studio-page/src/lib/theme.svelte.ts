// Dark or light: what the system says, until the reader says otherwise.

const system = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

class Theme {
  dark = $state(false);

  constructor() {
    const look = () => {
      this.dark = (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    };
    look();
    system.addEventListener("change", look);
  }

  turn(): void {
    this.dark = !this.dark;
    root.dataset.theme = this.dark ? "dark" : "light";
    try {
      localStorage.setItem("handmade-theme", root.dataset.theme);
    } catch {
      // storage may be forbidden; the choice then holds until the page is closed
    }
  }
}

export const theme = new Theme();
export const calm = matchMedia("(prefers-reduced-motion: reduce)");
