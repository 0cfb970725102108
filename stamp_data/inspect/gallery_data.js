// Where records come from: all of them in this file, or pages of them from the server that served it.

/** Everything in a record that search looks at, in lower case. */
function searchText(record) {
  const texts = [record.key, record.file, ...record.targets.flatMap((target) => [target.id, ...target.categories])];
  for (const dialogue of record.dialogues) texts.push(dialogue.text, ...dialogue.turns.map((turn) => turn.text));
  return texts.join("\n").toLowerCase();
}

const codesOf = (record) => new Set([...record.flags.map((flag) => flag.code)]);

class FileSource {
  constructor(records, entries) {
    this.rows = records.map((record, place) => ({ record, text: searchText(record), ...entries[place] }));
    this.found = records;
  }

  async query(filters, cursor, count) {
    if (cursor === 0) this.found = this.sorted(this.filtered(filters), filters.sort).map((row) => row.record);
    const end = Math.min(cursor + count, this.found.length);
    const next = end < this.found.length ? end : null;
    const total = this.rows.length;
    return { records: this.found.slice(cursor, end), next, matched: this.found.length, scanned: total, total };
  }

  async find(set, key) {
    return this.rows.find(({ record }) => record.key === key && (!set || record.set === set))?.record ?? null;
  }

  async numbers(filters) {
    return this.filtered(filters).map((row) => row.numbers);
  }

  filtered(filters) {
    const words = filters.q.toLowerCase().split(/\s+/).filter(Boolean);
    return this.rows.filter(({ record, facets, text }) =>
      Object.entries(facets).every(([name, choices]) => !filters[name] || choices.includes(filters[name])) &&
      (!filters.tag || tagsOf(record).includes(filters.tag)) && words.every((word) => text.includes(word)));
  }

  sorted(rows, sort) {
    if (!sort) return rows;
    const falling = sort.startsWith("-");
    const value = (row) => row.sorts[sort.replace("-", "")][Number(falling)];
    return [...rows].sort((a, b) => (falling ? value(b) - value(a) : value(a) - value(b)));
  }
}

class ServerSource {
  async query(filters, cursor, count) {
    return askJson("api/records", { ...filters, cursor, count }, { cache: "no-store" });
  }

  async numbers(filters) {
    return askJson("api/numbers", filters, { cache: "no-store" });
  }

  async find(set, key) {
    return (await askJson("api/record", { set, key }, { cache: "no-store" })).record;
  }
}

const source = DATA.mode === "server" ? new ServerSource() : new FileSource(DATA.records, DATA.entries);
const filtersNow = () => Object.fromEntries(FILTERS.map((name) => [name, state[name]]));
