// Writes a JSON Schema from a list of fields, for people who know no JSON Schema. The list is read from the schema that is
// there; one that says more than such a list can hold is left alone.

const form = document.getElementById("submit");
const find = (id) => document.getElementById(id);
const schemaInput = () => find("params.output.json_schema");

const PLAIN = new Set(["string", "number", "integer", "boolean"]);
const ALLOWED = new Set(["$schema", "type", "properties", "required", "additionalProperties"]);

/** The schema of a field. */
function schemaOf({ type, values }) {
  if (PLAIN.has(type)) return { type };
  if (type === "list") return { type: "array", items: { type: "string" } };
  return { enum: values.split(",").map((value) => value.trim()).filter((value, at, all) => value && all.indexOf(value) === at) };
}

/** The field that this schema is of; undefined if the list cannot hold it. */
function fieldOf(name, schema, required) {
  const field = { name, required, values: "" };
  if (schema === null || typeof schema !== "object") return undefined;
  const keys = Object.keys(schema).join();
  if (keys === "type" && PLAIN.has(schema.type)) return { ...field, type: schema.type };
  if (keys === "type,items" && JSON.stringify(schema) === JSON.stringify(schemaOf({ type: "list" }))) return { ...field, type: "list" };
  const isList = Array.isArray(schema.enum) && schema.enum.every((value) => typeof value === "string" && value.trim() === value && value && !value.includes(","));
  if (!isList || (keys !== "enum" && !(keys === "type,enum" && schema.type === "string"))) return undefined;
  return { ...field, type: "enum", values: schema.enum.join(", ") };
}

/** The fields of a schema as text: none of an empty one, undefined where the list cannot hold it. */
function fieldsOf(text) {
  if (!text.trim()) return [];
  let schema;
  try {
    schema = JSON.parse(text);
  } catch {
    return undefined;
  }
  const isPlain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!isPlain(schema) || !isPlain(schema.properties) || schema.type !== "object") return undefined;
  if (!Object.keys(schema).every((key) => ALLOWED.has(key)) || schema.additionalProperties !== false) return undefined;
  const required = schema.required ?? [];
  // JavaScript moves names that are numbers to the front.
  if (!Array.isArray(required) || Object.keys(schema.properties).some((name) => /^\d+$/.test(name))) return undefined;
  const fields = Object.entries(schema.properties).map(([name, each]) => fieldOf(name, each, required.includes(name)));
  return fields.includes(undefined) ? undefined : fields;
}

/** A JSON text of the list, its properties in the order of the list; empty without a field. */
function textOf(fields) {
  const named = fields.filter(({ name }) => name);
  if (!named.length) return "";
  const lines = named.map((field) => `    ${JSON.stringify(field.name)}: ${JSON.stringify(schemaOf(field))}`);
  const required = named.filter((field) => field.required).map(({ name }) => name);
  return `{\n  "type": "object",\n  "properties": {\n${lines.join(",\n")}\n  },\n  "required": ${JSON.stringify(required)},\n  "additionalProperties": false\n}`;
}

const part = (row, is) => row.querySelector(`[data-is="${is}"]`);

const rows = () => [...find("builder-fields").children];

const fieldIn = (row) => ({
  name: part(row, "name").value.trim(),
  type: part(row, "type").value,
  values: part(row, "values").value,
  required: part(row, "required").checked,
});

function addRow(field = { name: "", type: "string", values: "", required: true }) {
  const row = find("builder-field").content.firstElementChild.cloneNode(true);
  part(row, "name").value = field.name;
  part(row, "type").value = field.type;
  part(row, "values").value = field.values;
  part(row, "values").hidden = field.type !== "enum";
  part(row, "required").checked = field.required;
  find("builder-fields").append(row);
  return row;
}

/** Show the schema that is there as a list, unless the list says the same already. */
function read() {
  const fields = fieldsOf(schemaInput().value);
  find("builder-other").hidden = fields !== undefined;
  for (const id of ["builder-fields", "builder-add"]) find(id).hidden = fields === undefined;
  if (!fields) return find("builder-fields").replaceChildren();
  const shown = rows().map(fieldIn).filter(({ name }) => name);
  if (textOf(shown) === textOf(fields) && rows().length) return undefined;
  find("builder-fields").replaceChildren();
  for (const field of fields.length ? fields : [undefined]) addRow(field);
  return undefined;
}

function write() {
  const text = textOf(rows().map(fieldIn));
  if (schemaInput().value === text) return;
  schemaInput().value = text;
  schemaInput().dispatchEvent(new Event("input", { bubbles: true }));
}

const inBuilder = (event) => event.target.closest?.("#schema-builder");

form.addEventListener("toggle", (event) => {
  if (event.target.id === "schema-builder" && event.target.open) read();
}, true);

form.addEventListener("input", (event) => {
  if (inBuilder(event)) {
    const row = event.target.closest("li");
    part(row, "values").hidden = part(row, "type").value !== "enum";
    write();
  } else if (event.target === schemaInput() && find("schema-builder").open) {
    read();
  }
});

form.addEventListener("click", (event) => {
  // Browsers tell of a toggle later than of the click, and somebody may type meanwhile.
  if (event.target.closest("#schema-builder > summary")) read();
  if (event.target.id === "builder-add") part(addRow(), "name").focus();
  if (event.target.dataset.is !== "remove" || !inBuilder(event)) return;
  const row = event.target.closest("li");
  const near = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  (near ? part(near, "name") : find("builder-add")).focus();
  write();
});

// Enter in the list goes on with the next field, and does not send the form.
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !inBuilder(event) || event.target.matches("button, summary")) return;
  event.preventDefault();
  const next = event.target.closest("li").nextElementSibling ?? addRow();
  part(next, "name").focus();
});
