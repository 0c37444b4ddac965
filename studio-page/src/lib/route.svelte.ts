// Where the page is: everything after the # of the address, so that links, the back button and bookmarks work.

export interface Place {
  view: string; // first part of the path; "" is the gallery
  rest: string[];
  query: URLSearchParams;
}

function read(): Place {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view = "", ...rest] = path.split("/").map(unescaped);
  return { view, rest, query: new URLSearchParams(query) };
}

function unescaped(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const place: Place = $state(read());

addEventListener("hashchange", () => Object.assign(place, read()));

/** The address of a place. */
export function to(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** Go to a place; `quietly` leaves no step behind for the back button. */
export function go(address: string, quietly = false): void {
  if (!quietly) location.hash = address;
  else {
    history.replaceState(null, "", address);
    Object.assign(place, read());
  }
}
