// A run as it happens: its stages, its curves and its notes, from the server's events. A lost line goes on where it was.

const MAIN = ["z", "gold", "reward", "score", "accuracy", "loss", "kl", "heldout_z", "weight", "sounds", "length"];
const TITLES = {
  z: "score, in sd of the reference policy", gold: "gold, the truth of the sandbox", reward: "reward",
  score: "score, the reward model's own", accuracy: "accuracy on pairs held out", loss: "loss",
  kl: "KL to the reference, nats per reply", heldout_z: "score on prompts held out, in sd", weight: "weight",
  sounds: "monitors: share of replies that refuse, apologise, lecture, repeat",
  length: "monitor: median length beside the reference policy's",
};
const SOUNDS = /^monitor\.(refusals|apology_starts|lectures|top_gram)/;
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
const HEIGHT = 190;
const FEW = 30; // steps, up to which each is a dot
const REDRAW_MS = 300;

const at = (id) => document.getElementById(id);
const { run, ended } = at("run").dataset;
const steps = new Map(); // stage -> { x: [], values: Map of name -> [] }
const spent = { cost: 0, requests: 0, prompt_tokens: 0, completion_tokens: 0 };
const took = new Map(); // stage -> seconds
let chosen = ""; // by whoever looks on; else the stage at work
let charts = [];
let due = 0;

function onMetrics({ stage, step, steps: all, values }) {
  if (!steps.has(stage)) steps.set(stage, { x: [], values: new Map() });
  const found = steps.get(stage);
  // A run that goes on from a checkpoint takes some steps again.
  while (found.x.length && found.x.at(-1) >= step) {
    found.x.pop();
    for (const line of found.values.values()) line.length = found.x.length;
  }
  found.x.push(step);
  for (const [name, value] of Object.entries(values)) {
    if (!found.values.has(name)) found.values.set(name, []);
    const line = found.values.get(name);
    while (line.length < found.x.length - 1) line.push(null);
    line.push(value);
  }
  now(stage, step, all);
  spend(values);
  redrawSoon();
}

// What endpoints were asked for. A step that is taken again was paid for again.
function spend(values) {
  for (const name of Object.keys(spent)) spent[name] += values[`endpoint.${name}`] ?? 0;
  if (!spent.requests) return;
  const tokens = spent.prompt_tokens + spent.completion_tokens;
  at("cost").textContent = `${short(spent.cost)} for ${whole(spent.requests)} requests, ${whole(tokens)} tokens`;
  at("cost-of-it").hidden = false;
}

function onStage({ stage, seconds }) {
  if (seconds !== undefined) {
    took.set(stage, seconds);
    at("took").textContent = clock([...took.values()].reduce((sum, each) => sum + each));
  }
  for (const item of at("stages").children) {
    if (item.dataset.stage !== stage) continue;
    item.className = seconds === undefined ? "at-work" : "done";
    item.lastElementChild.textContent = seconds === undefined ? "…" : clock(seconds);
  }
}

function onRun({ status, stage, step, steps: all, step_seconds: pace }) {
  badge(status);
  if (stage) now(stage, step, all, pace);
}

function badge(status) {
  at("status").textContent = status.toLowerCase();
  at("status").className = `badge ${status.toLowerCase()}`;
}

function now(stage, step, all, pace = 0) {
  const left = pace && all > step ? `, about ${clock(pace * (all - step))} left of this stage` : "";
  at("now").textContent = all ? `${stage} ${step}/${all}${left}` : stage;
}

function onNote({ text, alarm }) {
  if (!text) return;
  const item = document.createElement("li");
  item.textContent = text;
  at(alarm ? "alarms" : "notes").append(item);
  if (alarm) at("wrong").hidden = false;
}

function clock(seconds) {
  if (seconds < 1) return "under 1 s";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  return whole < 3600 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

// ---- curves

function redrawSoon() {
  due ||= setTimeout(() => ((due = 0), redraw()), REDRAW_MS);
}

function redraw() {
  const drawn = [...steps].filter(([, found]) => found.values.size).map(([stage]) => stage);
  if (!drawn.length) return;
  at("no-curves").hidden = true;
  const first = ended === "true" && drawn.includes("ppo") ? "ppo" : drawn.at(-1);
  const stage = drawn.includes(chosen) ? chosen : first;
  tabs(drawn, stage);
  const last = (name) => Number(!name.includes(".")); // so that an objective has one colour everywhere
  const names = [...steps.get(stage).values.keys()].sort((a, b) => last(a) - last(b));
  const groups = Map.groupBy(names, groupOf);
  const layout = JSON.stringify([stage, ...groups]);
  if (at("curves").dataset.layout !== layout) {
    at("curves").dataset.layout = layout;
    build(groups);
  }
  for (const { plot, names } of charts) {
    plot.setData(lines(stage, names));
    // After the plot's own work, which is a microtask too and would clear it.
    if (plot.cursor.idx == null) queueMicrotask(() => plot.setLegend({ idx: plot.data[0].length - 1 }, false));
  }
}

function groupOf(name) {
  if (SOUNDS.test(name)) return "sounds";
  return name === "monitor.length_ratio" ? "length" : name.split(".")[0];
}

function lines(stage, names) {
  const { x, values } = steps.get(stage);
  return [x, ...names.map((name) => Array.from(x, (_, place) => values.get(name)[place] ?? null))];
}

function tabs(drawn, stage) {
  at("tabs").replaceChildren(
    ...drawn.map((name) => {
      const tab = document.createElement("button");
      tab.textContent = name;
      tab.setAttribute("aria-pressed", String(name === stage));
      tab.addEventListener("click", () => ((chosen = name), redraw()));
      return tab;
    }),
  );
}

function build(groups) {
  for (const { plot } of charts) plot.destroy();
  charts = [];
  at("curves").replaceChildren();
  at("others").replaceChildren();
  const main = MAIN.filter((kind) => groups.has(kind));
  for (const kind of main) chart(at("curves"), TITLES[kind], groups.get(kind));
  const others = [...groups.keys()].filter((kind) => !main.includes(kind)).sort();
  for (const kind of others) chart(at("others"), kind, groups.get(kind));
  at("more").hidden = !others.length;
}

function chart(place, title, names) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--chart-soft"), grid: { stroke: colour("--chart-line"), width: 1 }, ticks: { show: false } };
  const upright = { ...axis, size: 60, values: (_, values) => values.map(short) };
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  figure.append(caption);
  place.append(figure);
  const series = names.map((name, number) => ({
    label: name.includes(".") ? name.slice(name.indexOf(".") + 1) : names.length > 1 ? "all" : "value",
    stroke: colour(`--chart-${number % 4}`),
    dash: DASHES[Math.floor(number / 4 + number) % 4],
    width: 2,
    spanGaps: true, // some things are measured now and then
    points: { show: (plot, place) => plot.data[place].filter((value) => value != null).length <= FEW },
    value: (_, value) => (value == null ? "–" : short(value)),
  }));
  const width = Math.max(240, figure.clientWidth || 340);
  const options = { width, height: HEIGHT, scales: { x: { time: false } }, axes: [axis, upright], series: [{ label: "step" }, ...series] };
  const plot = new uPlot(options, [[], ...names.map(() => [])], figure);
  charts.push({ plot, names, figure });
}

const short = (value) => Number(value.toPrecision(3)).toString();
const whole = (value) => Math.round(value).toLocaleString("en");

function anew() {
  delete at("curves").dataset.layout;
  redrawSoon();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", anew);
at("more").addEventListener("toggle", anew);
let width = innerWidth;
addEventListener("resize", () => {
  if (width !== innerWidth) anew();
  width = innerWidth;
});

// ---- the server's events

const RETRY_MS = 3000;
const LONGEST_MS = 60_000;
const takers = { metrics: onMetrics, stage: onStage, note: onNote, run: onRun, end: onEnd };
let events, last = "", pause = RETRY_MS;

function onEnd() {
  events.close();
  if (ended !== "true") location.reload(); // for what came of it
}

// A line that drops is taken up again by the browser; a server that answers with an error, while it starts, is not.
function follow() {
  events = new EventSource(`/runs/${encodeURIComponent(run)}/events?after=${last}`);
  for (const [kind, take] of Object.entries(takers)) {
    events.addEventListener(kind, (event) => {
      last = event.lastEventId || last;
      take(JSON.parse(event.data));
    });
  }
  events.addEventListener("open", () => (pause = RETRY_MS));
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(again, pause);
  });
}

// Why there are no events they cannot say themselves: who is signed out, or whose run is gone, would wait in vain.
async function again() {
  pause = Math.min(2 * pause, LONGEST_MS);
  const why = await refusal();
  if (!why) return follow();
  at("why").textContent = why;
  at("stopped").hidden = false;
}

/** Why the server will not tell this visitor of this run; empty where it would, or does not answer. */
async function refusal() {
  try {
    const response = await fetch(location.pathname, { headers: { accept: "application/json" } });
    if (response.status === 401) return "You are signed out.";
    return [403, 404].includes(response.status) ? (await response.json()).error.message : "";
  } catch {
    return "";
  }
}

follow();
