// Files that are dropped or chosen, folders opened, and their way to the server.

import { api, sentence, type Upload } from "./api";

export interface Given {
  name: string; // with the folders it lay in
  file: File;
}

const MOST = 20_000;

/** What lies in a drop: files, and the files of folders. */
export async function dropped(transfer: DataTransfer): Promise<Given[]> {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
  if (!entries.length) return [...transfer.files].map((file) => ({ name: file.name, file }));
  const found: Given[] = [];
  for (const entry of entries) await walk(entry, "", found);
  return found;
}

async function walk(entry: FileSystemEntry, folder: string, found: Given[]): Promise<void> {
  if (found.length >= MOST || entry.name.startsWith(".")) return;
  if (entry.isFile) {
    const file = await new Promise<File>((take, fail) => (entry as FileSystemFileEntry).file(take, fail));
    found.push({ name: folder + file.name, file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((take, fail) => reader.readEntries(take, fail)); // a hundred at a time
    if (!some.length) return;
    for (const inner of some) await walk(inner, `${folder}${entry.name}/`, found);
  }
}

/** What was chosen in the browser's own dialogue. */
export function chosen(list: FileList | null): Given[] {
  return [...(list ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
}

/** Send files, four at a time; what is refused is named with its reason and the others go on. */
export async function send(
  name: string,
  use: "data" | "ask",
  files: Given[],
  tell: (done: number, of: number) => void = () => {},
): Promise<{ upload: Upload; refused: string[] }> {
  const upload = await api.upload(name, use);
  const refused: string[] = [];
  const waiting = [...files];
  let done = 0;
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      try {
        refused.push(...(await api.put(upload.id, next.file, next.name)));
      } catch (error) {
        refused.push(`${next.name}: ${sentence(error)}`);
      }
      tell(++done, files.length);
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  return { upload: await api.uploaded(upload.id), refused };
}
