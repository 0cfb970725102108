// Where records come from: all of them in this file, or pages of them from the server that served it.

/** Everything in a record that search looks at, in lower case. */
function searchText(record) {
  const texts = [record.key, record.file, ...record.targets.flatMap((target) => [target.id, ...target.categories])];
  for (const dialogue of record.dialogues) texts.push(dialogue.text, ...dialogue.turns.map((turn) => turn.text));
  return texts.join("\n").toLowerCase();
}

const ANY = "any"; // all that nearly the same picture is elsewhere of

const codesOf = (record) => new Set([...record.flags.map((flag) => flag.code)]);

class FileSource {
  constructor(records) {
    this.rows = records.map((record) => ({ record, text: searchText(record), ...record.entry }));
    this.found = records;
  }

  async query(filters, cursor, count) {
    if (cursor === 0) this.found = this.sorted(this.filtered(filters), filters).map((row) => row.record);
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

  async group(near) {
    return this.rows.filter((row) => row.record.near === near).map((row) => row.record);
  }

  filtered(filters) {
    const words = filters.q.toLowerCase().split(/\s+/).filter(Boolean);
    return this.rows.filter(({ record, facets, text }) =>
      Object.entries(facets).every(([name, choices]) => !filters[name] || choices.includes(filters[name])) &&
      (!filters.near || (record.near && [ANY, record.near].includes(filters.near))) && (!filters.tag || tagsOf(record).includes(filters.tag)) && words.every((word) => text.includes(word)));
  }

  sorted(rows, { sort, near }) {
    if (!sort) return near ? [...rows].sort((a, b) => a.record.near - b.record.near) : rows; // side by side
    const falling = sort.startsWith("-");
    const value = (row) => row.sorts[sort.replace("-", "")][Number(falling)];
    return [...rows].sort((a, b) => (falling ? value(b) - value(a) : value(a) - value(b)));
  }
}

class ServerSource {
  async group(near) {
    return (await this.query({ near }, 0, PAGE)).records;
  }

  async query(filters, cursor, count) {
    const answer = await askJson("api/records", { ...filters, cursor, count }, { cache: "no-store" });
    answer.records.forEach((record, place) => { record.near = answer.near[place]; });
    return answer;
  }

  async numbers(filters) {
    return askJson("api/numbers", filters, { cache: "no-store" });
  }

  async find(set, key) {
    const { record, near } = await askJson("api/record", { set, key }, { cache: "no-store" });
    return Object.assign(record, { near });
  }
}

const source = DATA.mode === "server" ? new ServerSource() : new FileSource(DATA.records);
const filtersNow = () => Object.fromEntries(FILTERS.map((name) => [name, state[name]]));
