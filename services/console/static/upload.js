// A file on its way to becoming a dataset: its bytes are the body, and what it is called is in the address.

const at = (id) => document.getElementById(id);

at("file").addEventListener("change", () => {
  const [file] = at("file").files;
  if (file && !at("name").value) at("name").value = nameFor(file.name);
});

at("upload").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter;
  button.disabled = true;
  tell("Uploading, and reading every row …");
  try {
    tell(await send(at("file").files[0]));
  } catch (error) {
    tell(error.message, "wrong");
  }
  button.disabled = false;
});

async function send(file) {
  const said = { name: at("name").value, format: at("format").value, description: at("description").value, file: file.name };
  const address = `/datasets/upload?${new URLSearchParams(said)}`;
  const response = await fetch(address, { method: "POST", body: file, headers: { accept: "application/json" } });
  const json = response.headers.get("content-type")?.startsWith("application/json");
  if (!json) throw new Error((await response.text()).slice(0, 500));
  const found = await response.json();
  if (!response.ok) throw new Error(found.error.message);
  location.assign(`/datasets/${encodeURIComponent(found.id)}`);
  return `${found.rows} rows are stored.`;
}

function tell(text, kind = "") {
  at("told").textContent = text;
  at("told").className = `words ${kind}`;
}

function nameFor(file) {
  const stem = file.toLowerCase().replace(/\.[^.]*$/, "").replace(/[^a-z0-9_]+/g, "-").replace(/^-+|-+$/g, "");
  return (/^[a-z]/.test(stem) ? stem : `data-${stem}`).slice(0, 50);
}
