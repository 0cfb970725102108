// Tags of records: put on by a key or in words, filtered by, kept by the server or taken away as a list.

const FLAG = "flag"; // what the key puts on
const KEPT_TAGS = `tags of ${DATA.title}`; // where a page from disk keeps them
const tagged = new Map(DATA.tags.map((row) => [`${row.set} ${row.record}`, row]));

const tagsOf = (record) => tagged.get(`${record.set} ${record.key}`)?.tags ?? [];
const allTags = () => [...new Set([...tagged.values()].flatMap((row) => row.tags))].sort();

/** Tags that were put on before the page was loaded again; browsers may forbid pages from disk to keep anything. */
function recallTags() {
  try {
    for (const row of DATA.mode === "file" ? JSON.parse(localStorage.getItem(KEPT_TAGS) ?? "[]") : []) tagged.set(`${row.set} ${row.record}`, row);
  } catch (fault) {
    toast(`Tags are not kept here: ${fault.message}`);
  }
}

/** Give a record these tags and no others. */
async function setTags(record, words) {
  const tags = [...new Set(words.map((word) => word.trim()).filter(Boolean))], name = `${record.set} ${record.key}`;
  try {
    if (DATA.mode === "server") await askJson("api/tag", {}, sending({ set: record.set, record: record.key, tags }));
    if (tags.length) tagged.set(name, { schema: "stamp.tags/1", set: record.set, record: record.key, tags, place: DATA.places[record.set] ?? "" });
    else tagged.delete(name);
    if (DATA.mode === "file") localStorage.setItem(KEPT_TAGS, JSON.stringify([...tagged.values()]));
  } catch (fault) {
    toast(fault.message);
  }
  const place = grid.records.indexOf(record);
  if (place >= 0) cardAt(place).querySelector(".tags").replaceWith(tagRow(record));
  if (detail.record === record && document.activeElement?.id !== "tags") byId("tags").value = tagsOf(record).join(", ");
  drawFilters();
  markFilters();
}

const toggleFlag = (record) => setTags(record, tagsOf(record).includes(FLAG) ? tagsOf(record).filter((tag) => tag !== FLAG) : [...tagsOf(record), FLAG]);

const tagRow = (record) => el("p", { class: "tags" }, ...tagsOf(record).map((tag) => el("span", { class: "tag" }, tag)));

function tagField(record) {
  const input = el("input", { id: "tags", value: tagsOf(record).join(", "), maxlength: 500, placeholder: "Tags, with commas", "aria-label": "Tags of the record", autocomplete: "off" });
  input.addEventListener("change", () => setTags(record, input.value.split(",")));
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") input.blur(); });
  return el("label", { class: "tag-field" }, "Tags", input);
}

/** The list as a file: what `build --exclude` and `annotate --from` read. */
function saveTags() {
  const rows = [...tagged.values()].map((row) => `${JSON.stringify(row)}\n`);
  if (!rows.length) return toast("Nothing is tagged: x tags a record.");
  const address = URL.createObjectURL(new Blob(rows, { type: "application/jsonl" }));
  el("a", { href: address, download: "tags.jsonl" }).click();
  return setTimeout(() => URL.revokeObjectURL(address), 1000);
}
