// How the page says numbers, times and sizes.

/** A time in the words of a clock: 45 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return whole % 60 && whole < 600 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${Math.round(whole / 60)} min`;
  const minutes = Math.round(whole / 60);
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

/** A time as one would say it: about 8 min, about 2 h. */
export function roughly(seconds: number): string {
  if (seconds < 45) return "less than a minute";
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `about ${Math.max(1, minutes)} min` : `about ${Math.round(minutes / 30) / 2} h`;
}

/** A number shortly: 1,234, 0.0312, 2.1e-7, with a true minus sign. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (value === 0) return "0";
  const text =
    size >= 1000 ? Math.round(value).toLocaleString("en") : size >= 1e-3 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
  return text.replace("-", "\u2212");
}

/** A count with thousands apart. */
export function count(value: number): string {
  return value.toLocaleString("en");
}

/** A size in the units people see: 340 kB, 12.4 MB. */
export function size(bytes: number): string {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toPrecision(3)} MB` : `${(bytes / 1e9).toPrecision(3)} GB`;
}

/** snake_case to words; the abbreviations of the field in capitals. */
export function title(name: string): string {
  const words = name.replaceAll("_", " ").replace(/\blr\b/, "learning rate");
  if (["kid", "fid", "ssim", "psnr", "bleu", "wer", "cer", "ema", "bpe"].includes(words.toLowerCase())) return words.toUpperCase();
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}

/** How long ago, roughly. */
export function ago(at: number, now = Date.now() / 1000): string {
  const seconds = now - at;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  const days = Math.round(seconds / 86400);
  return days === 1 ? "yesterday" : `${days} days ago`;
}

/** Marks of an axis, with as many digits as they need. */
export function marks(values: (number | null)[]): string[] {
  const known = values.filter((value) => value !== null);
  const apart = Math.min(...known.slice(1).map((value, i) => Math.abs(value - known[i])));
  const exact = (digits: number) => known.every((value) => Math.abs(value - Number(value.toFixed(digits))) < apart / 100);
  const digits = [0, 1, 2, 3, 4, 5, 6].find(exact);
  return values.map((value) => {
    if (value === null) return "";
    return Math.abs(value) >= 1000 || digits === undefined ? short(value) : value.toFixed(digits).replace("-", "\u2212");
  });
}
