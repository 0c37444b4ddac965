// The field's words in plain English: the house's own glossary, fetched once, when a first word asks for it.

import { api } from "./api";

class Glossary {
  terms = $state.raw<Record<string, string>>({});
  private asked = false;

  find(word: string): string | undefined {
    this.fetch();
    const key = word.toLowerCase().replaceAll("_", " ");
    return this.terms[key] ?? this.terms[key.replace(/s$/, "")];
  }

  fetch(): void {
    if (this.asked) return;
    this.asked = true;
    api.glossary().then(
      (terms) => (this.terms = terms),
      () => (this.asked = false), // without it, words stand unexplained until the next page
    );
  }
}

export const glossary = new Glossary();
