// Where records come from: all of them in this file, or pages of them from the server that served it.

/** Everything in a record that search looks at, in lower case. */
function searchText(record) {
  const texts = [record.key, record.file, ...record.targets.flatMap((target) => [target.id, ...target.categories])];
  for (const dialogue of record.dialogues) texts.push(dialogue.text, ...dialogue.turns.map((turn) => turn.text));
  return texts.join("\n").toLowerCase();
}

const codesOf = (record) => new Set([...record.flags.map((flag) => flag.code)]);

/** What a record is sorted by: the best of its dialogues. */
const SORT_VALUES = {
  area: (record, best) => best(...record.dialogues.map((dialogue) => dialogue.area)),
  iou: (record, best) => best(...record.dialogues.map((dialogue) => dialogue.iou)),
  total: (record, best) => best(...record.dialogues.map((dialogue) => dialogue.total)),
  dialogues: (record) => record.dialogues.length,
  flags: (record) => record.flags.length,
};

class FileSource {
  constructor(records) {
    this.records = records;
    this.texts = records.map(searchText);
    this.codes = records.map(codesOf);
    this.total = records.length;
    this.found = records;
  }

  async query(filters, cursor, count) {
    if (cursor === 0) this.found = this.sorted(this.filtered(filters), filters.sort);
    const end = Math.min(cursor + count, this.found.length);
    const next = end < this.found.length ? end : null;
    return { records: this.found.slice(cursor, end), next, matched: this.found.length, scanned: this.total, total: this.total };
  }

  async find(set, key) {
    return this.records.find((record) => record.key === key && (!set || record.set === set)) ?? null;
  }

  filtered(filters) {
    const words = filters.q.toLowerCase().split(/\s+/).filter(Boolean);
    return this.records.filter((record, index) =>
      (!filters.source || record.source === filters.source) &&
      (!filters.split || record.split === filters.split) &&
      (!filters.kind || record.dialogues.some((dialogue) => dialogue.kind === filters.kind)) &&
      (!filters.flag || this.codes[index].has(filters.flag)) &&
      (!filters.flagged || record.flags.length > 0) &&
      words.every((word) => this.texts[index].includes(word)));
  }

  sorted(records, sort) {
    if (!sort) return records;
    const falling = sort.startsWith("-");
    const value = SORT_VALUES[sort.replace("-", "")];
    const keyed = records.map((record) => [value(record, falling ? Math.max : Math.min), record]);
    keyed.sort(([a], [b]) => (falling ? b - a : a - b));
    return keyed.map(([, record]) => record);
  }
}

class ServerSource {
  async query(filters, cursor, count) {
    return this.ask("api/records", { ...filters, cursor, count });
  }

  async find(set, key) {
    return (await this.ask("api/record", { set, key })).record;
  }

  async ask(path, query) {
    const answer = await fetch(`${path}?${new URLSearchParams(query)}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    return answer.json();
  }
}

const source = DATA.mode === "server" ? new ServerSource() : new FileSource(DATA.records);
const filtersNow = () => Object.fromEntries(FILTERS.map((name) => [name, state[name]]));
