// The page: tells the server what the hand does, and shows what the server tells.

import { Hand, isOld } from "./hand.js";

const TICK_MS = 16; // while something is held
const IDLE_TICKS = 6; // between two messages while nothing is
const FULL = 4096; // bytes that wait to be sent, beyond which nothing is added
const LOST_MS = 1000; // without a word from the server
const ADDRESS = location.href.split(/[?#]/)[0].replace(/^http/, "ws");
// By which the server knows a page that comes back, also after a reload; a copy of the tab has another.
const storage = (() => {
  try {
    return sessionStorage;
  } catch { // the browser has been told to keep nothing
    return {};
  }
})();
const NAME = storage.name ?? [...crypto.getRandomValues(new Uint8Array(12))]
  .map((byte) => byte.toString(16).padStart(2, "0")).join("");
addEventListener("pageshow", () => delete storage.name);
addEventListener("pagehide", () => (storage.name = NAME));

const $ = (id) => document.getElementById(id);
const status = {};
const link = { socket: null, number: 0, beat: 0, heard: 0, role: "", free: false, page: true,
  over: false, wait: 250 };
let pressed = [];
let ticks = 0;

const hand = new Hand(press, send);
hand.wantsTab = () => status.state === "showing";

// what is said

function press(button) {
  if (link.role !== "steers" || pressed.length >= 8) return;
  pressed.push(button);
  send();
}

function send() {
  const socket = link.socket;
  light();
  if (socket?.readyState !== 1 || link.role !== "steers" || link.beat === 0) {
    pressed = [];
    return;
  }
  if (socket.bufferedAmount > FULL) { // a connection that is stuck gets nothing to catch up on
    pressed = [];
    return;
  }
  const held = hand.read(); // which may press a gamepad's button, and send that before
  const said = { n: ++link.number, t: performance.now(), beat: link.beat, ...held,
    buttons: pressed };
  pressed = [];
  socket.send(JSON.stringify(said));
}

function tick() {
  if (++ticks % IDLE_TICKS === 0 || hand.read().engaged) send();
  if (link.socket?.readyState === 1 && performance.now() - link.heard > LOST_MS) lose(link.socket);
}

function connect() {
  const watch = new URLSearchParams(location.search).has("watch") ? "&watch" : "";
  const socket = new WebSocket(`${ADDRESS}control?client=${NAME}${watch}`);
  Object.assign(link, { socket, number: 0, beat: 0, role: "", heard: performance.now() });
  socket.onopen = () => (link.heard = performance.now());
  socket.onmessage = (event) => hear(JSON.parse(event.data));
  socket.onclose = () => lose(socket);
}

// Give a connection up, without waiting for the other side to say that it has ended; that of the
// pictures may be as dead, and would go on to show the last one.
function lose(socket) {
  socket.onmessage = socket.onclose = null;
  socket.close();
  pictures?.close();
  Object.assign(link, { socket: null, role: "", beat: 0 });
  pressed = [];
  hand.release();
  show();
  if (link.over) return;
  link.wait = Math.min(2 * link.wait, 2000);
  setTimeout(connect, link.wait);
}

function hear(word) {
  link.heard = performance.now();
  if (word.hello) {
    Object.assign(hand, { keys: word.hello.keys, buttons: word.hello.gamepad, dead: word.hello.dead });
    makeCameras(word.hello.cameras);
    return;
  }
  Object.assign(status, word.status);
  const before = link.role;
  Object.assign(link, { beat: word.beat, role: word.role, free: word.free, page: word.page_steers,
    wait: 250, over: link.over || Boolean(word.over) });
  if (before !== link.role) hand.release();
  show();
}

// pictures, over a connection of their own

const canvases = [];
const beside = element("canvas", { width: 320, height: 320 }); // the base's, during a comparison
let camerasMade = "";
let pictures = null; // the connection

function makeCameras(names) {
  if (camerasMade === names.join()) return;
  camerasMade = names.join();
  canvases.length = 0;
  $("cameras").replaceChildren(...names.map((name) => {
    const canvas = element("canvas", { width: 320, height: 320 });
    canvases.push(canvas);
    const figure = element("figure", {}, canvas, element("figcaption"));
    figure.dataset.name = name.replaceAll("_", " ");
    return figure;
  }), element("figure", { className: "beside" }, beside, element("figcaption", {}, "The base's")));
  compare(false);
  $("cameras").dataset.count = names.length;
  document.body.classList.toggle("blind", names.length === 0);
  if (names.length) look();
}

function look() {
  const socket = (pictures = new WebSocket(`${ADDRESS}pictures`));
  socket.binaryType = "arraybuffer";
  socket.onmessage = async (event) => {
    if (typeof event.data === "string") {
      $("cameras").dataset.problem = JSON.parse(event.data).problem;
      return;
    }
    await draw(new DataView(event.data));
    if (socket.readyState === 1) socket.send("taken");
  };
  socket.onclose = () => link.over || setTimeout(look, 1000);
}

async function draw(data) {
  const jobs = [];
  let at = 4;
  for (const canvas of [...canvases, beside]) {
    if (at === data.byteLength) break; // nothing beside it
    const length = data.getUint32(at);
    const blob = new Blob([new Uint8Array(data.buffer, at + 4, length)], { type: "image/jpeg" });
    jobs.push(createImageBitmap(blob).then((image) => [canvas, image]));
    at += 4 + length;
  }
  const images = await Promise.all(jobs);
  compare(images.length > canvases.length);
  for (const [canvas, image] of images) {
    if (canvas.width !== image.width || canvas.height !== image.height) {
      canvas.width = image.width;
      canvas.height = image.height;
    }
    canvas.getContext("2d").drawImage(image, 0, 0);
    canvas.parentElement.classList.add("live");
    image.close();
  }
}

// Have two pictures of the first camera side by side, or all cameras as usual.
function compare(wanted) {
  const [first, ...others] = $("cameras").children;
  $("cameras").classList.toggle("pair", wanted);
  for (const figure of others) figure.hidden = wanted !== figure.classList.contains("beside");
  for (const { dataset, lastChild } of [first, ...others.slice(0, -1)]) {
    lastChild.textContent = wanted ? "Yours" : dataset.name;
  }
}

// what is seen

const STATES = { waiting: "Ready", running: "Recording", paused: "Paused", saving: "Saving",
  deciding: "Decide", showing: "Watch", done: "Done" };
const DECISIONS = { kept: "Kept", rejected: "Rejected", failed: "Not finished",
  discarded: "Discarded", practice: "Practised", undone: "Taken back" };

// What can be pressed now: [button, what it says], the first one foremost.
function actions() {
  const again = ["retry", "Same start again"];
  switch (status.state) {
    case "waiting":
      return [["start", status.attempts ? "Begin the next" : "Begin"],
        ...(status.attempts ? [again] : []), ...(status.kept ? [["undo", "Take back the last"]] : [])];
    case "running":
      return [["end", "End"], ["pause", "Pause"], ["retry", "Start over"], ["discard", "Discard"]];
    case "paused":
      return [["start", "Go on"], ["end", "End"], ["retry", "Start over"], ["discard", "Discard"]];
    case "deciding":
      return status.decision === "kept"
        ? [["start", "Keep"], ["retry", "Try again"], ["discard", "Discard"]]
        : [["start", status.decision === "rejected" ? "See why" : "Go on"],
          ["keep", "Keep anyway"], ["retry", "Try again"], ["discard", "Discard"]];
    case "saving":
      return status.problem ? [["start", "Try again"]] : [];
    case "showing":
      return [["skip", "Next"], ["end", "Enough"]];
    default:
      return [];
  }
}

let drawn = "";

function show() {
  const connected = link.socket?.readyState === 1 && link.role !== "";
  const steers = connected && link.role === "steers";
  const body = document.body.dataset;
  body.state = status.state ?? "waiting";
  body.phase = status.phase ?? "";
  body.decision = status.decision ?? "";
  body.link = link.over ? "over" : !connected ? "lost" : steers ? "steers" : "watches";
  const linked = { over: "session over", lost: "no connection", steers: "you steer",
    watches: "you watch" };
  $("link").lastChild.textContent = linked[body.link];
  $("leave").hidden = !steers;
  showHead();
  showNow(steers);
  showFit();
  showHand();
  showVeil(body.link);
}

function showHead() {
  text("task", status.task || "Demonstrate");
  text("operator", status.operator ? `${status.operator}` : "");
  for (const item of $("phases").children) {
    item.toggleAttribute("aria-current", item.dataset.phase === status.phase);
  }
  const { kept = 0, goal = 0, rejected = 0 } = status;
  text("kept", kept);
  text("goal", goal);
  text("rejected", rejected ? `, ${rejected} rejected` : "");
  const bar = $("bar");
  const cells = goal <= 25 ? goal : 1;
  if (bar.children.length !== cells) {
    bar.replaceChildren(...Array.from({ length: cells }, () => element("i")));
  }
  [...bar.children].forEach((cell, i) => {
    const share = cells === goal ? Number(i < kept) : Math.min(1, kept / goal);
    cell.style.setProperty("--share", share);
  });
}

function showNow(steers) {
  const ended = status.state === "deciding" || (status.state === "waiting" && status.decision);
  const state = status.state ?? "waiting";
  const word = ended && DECISIONS[status.decision];
  text("state", word && state === "deciding" && status.decision === "kept" ? "Keep it?" : word || STATES[state]);
  const time = $("time").firstChild;
  time.nodeValue = (status.time_s ?? 0).toFixed(1);
  const fits = status.verdict?.accepted ? " and fits the others" : "";
  const asked = { kept: `It succeeded${fits}.`, failed: "The task was not done.",
    rejected: "It succeeded, but does not fit the others." };
  text("message", state === "deciding" && asked[status.decision] || sentence(status.message ?? ""));
  text("problem", sentence(status.problem ?? ""));
  $("problem").hidden = !status.problem || state === "paused"; // then the veil says it
  const showing = state === "showing";
  $("caption").hidden = !showing;
  text("caption", showing ? sentence((status.message ?? "").replace(/^watch: /, "")) : "");
  const wanted = steers ? actions() : [];
  const key = JSON.stringify(wanted);
  if (key === drawn) return;
  drawn = key;
  $("actions").replaceChildren(...wanted.map(([button, says], i) => {
    const made = element("button", { type: "button", className: i ? "" : "primary" }, says);
    const name = keyOf(button);
    if (name) made.append(element("kbd", {}, name));
    made.dataset.press = button;
    return made;
  }));
}

function showFit() {
  const { live, verdict, strip = [] } = status;
  $("fit").hidden = !live && !verdict && strip.length === 0;
  if ($("fit").hidden) return;
  const under_way = ["running", "paused"].includes(status.state);
  const judged = !under_way && verdict;
  const level = judged ? Number(!verdict.accepted) : live?.level ?? 0;
  const fit = Math.round(100 * (1 - level));
  const words = judged ? (verdict.accepted ? "It fits" : "It does not fit")
    : inWords(live?.words) || (level < 0.5 ? "fits" : "does not fit");
  text("fit-title", judged ? "Verdict" : "Compatibility");
  text("words", sentence(words));
  const meter = $("meter");
  meter.setAttribute("aria-valuenow", fit);
  meter.setAttribute("aria-valuetext", words);
  meter.hidden = Boolean(judged);
  meter.style.setProperty("--fit", `${Math.max(4, fit)}%`);
  $("fit").style.setProperty("--level", level);
  $("fit").dataset.verdict = judged ? (verdict.accepted ? "accepted" : "rejected") : "";
  const reasons = judged ? verdict.reasons.map(sentence) : [];
  if ($("reasons").dataset.shown !== reasons.join("\n")) {
    $("reasons").dataset.shown = reasons.join("\n");
    $("reasons").replaceChildren(...reasons.map((reason) => element("li", {}, reason)));
  }
  drawStrip(strip, judged ? verdict.windows : []);
}

// What a judge says of entries of an action, "dz +0.62": what there is more of than in the base.
const WAYS = { dx: ["forward", "back"], dy: ["left", "right"], dz: ["up", "down"],
  drx: ["rolled right", "rolled left"], dry: ["tipped down", "tipped up"],
  drz: ["turned left", "turned right"], gripper: ["closed", "open"] };

function inWords(cue = "") {
  const parts = cue.split(", ").map((part) => part.match(/^(\w+) ([+-])[\d.]+$/));
  if (!parts.every((part) => part && part[1] in WAYS)) return cue;
  return `too far ${parts.map(([, name, sign]) => WAYS[name][Number(sign === "-")]).join(", ")}`;
}

// The levels of the whole demonstration, from left to right, and the worst windows below them.
function drawStrip(strip, windows) {
  const canvas = $("strip");
  const scale = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const count = Math.max(strip.length, 60); // the first steps do not fill all of it
  const wide = width / count, room = height - 7;
  strip.forEach((level, i) => {
    const tall = 3 + (room - 3) * level;
    pen.fillStyle = colour(level);
    pen.fillRect(i * wide, room - tall, Math.max(wide - (wide > 3 ? 1 : 0), 0.75), tall);
  });
  const line = getComputedStyle(canvas);
  pen.fillStyle = line.borderTopColor;
  pen.fillRect(0, room, width, 1);
  pen.fillStyle = line.color;
  const shown = strip.length / count * width;
  for (const [start, end] of windows) {
    const from = start / status.steps * shown, to = end / status.steps * shown;
    pen.fillRect(from, room + 3, Math.max(to - from, 3), 3);
  }
}

function colour(level) {
  const light = matchMedia("(prefers-color-scheme: light)").matches;
  return `oklch(${light ? 0.6 : 0.72} 0.17 ${Math.round(148 - 122 * level)})`;
}

function showHand() {
  if (status.gripper) text("gripper", status.gripper);
  text("frame", status.frame || "");
  text("speed", `${Math.round(100 * (status.speed ?? 0))} %`);
  $("frame").parentElement.hidden = !status.frame;
  $("hand").classList.toggle("views-only", link.role !== "steers");
  const help = JSON.stringify(status.help ?? []);
  if ($("keys").dataset.shown === help) return;
  $("keys").dataset.shown = help;
  const rows = (status.help ?? []).map(([keys, what]) => ({ keys, what }));
  const pad = rows.filter(({ keys }) => keys.startsWith("gamepad: "));
  const list = (some, cut) => element("dl", {}, ...some.map(({ keys, what }) => element("div", {},
    element("dt", {}, ...(cut ? [keys.slice(cut)] : keys.split(" ").map((key) => {
      const made = element("kbd", {}, key);
      made.dataset.key = key;
      return made;
    }))), element("dd", {}, what))));
  $("keys").replaceChildren(list(rows.filter((row) => !pad.includes(row)), 0));
  if (pad.length) {
    $("keys").append(element("details", {}, element("summary", {}, "Gamepad"),
      list(pad, "gamepad: ".length)));
  }
}

function light() {
  const held = new Set(hand.held.values());
  for (const key of $("keys").querySelectorAll("kbd")) {
    key.classList.toggle("held", held.has(key.dataset.key));
  }
}

function showVeil(linked) {
  const veil = $("veil"), [title, line, button] = veil.firstElementChild.children;
  const said = {
    lost: ["No connection", "The robot holds still and the demonstration is paused. " +
      "The page connects again by itself; then go on when you like."],
    over: [status.kept >= status.goal ? "Goal reached" : "Session over",
      `${status.kept ?? 0} of ${status.goal ?? 0} demonstrations kept. You may close this page.`],
  }[linked] ?? (linked === "watches" && link.page && link.free
    ? ["You watch", "Nobody has the controls."] : null)
    ?? (status.state === "paused" ? ["Paused", sentence(status.problem || "Nothing moves.")] : null);
  veil.hidden = !said;
  if (!said) return;
  title.textContent = said[0];
  line.textContent = said[1];
  button.hidden = linked !== "watches";
  button.textContent = "Take the controls";
}

// small things

function text(id, value) {
  const node = $(id), wanted = String(value);
  if (node.textContent !== wanted) node.textContent = wanted;
}

function sentence(words) {
  return words ? words[0].toUpperCase() + words.slice(1) : "";
}

function keyOf(button) {
  return Object.entries(hand.keys).find(([, [way, name]]) => way === "press" && name === button)?.[0];
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (event.detail) button.blur(); // a click with a pointer leaves the keys to the robot
  if (button.dataset.press && !isOld(event)) press(button.dataset.press);
});
$("veil").querySelector("button").addEventListener("click", () => {
  if (link.socket?.readyState === 1) link.socket.send("take");
});
$("tilt").addEventListener("click", () => {
  hand.tilts = !hand.tilts;
  $("tilt").setAttribute("aria-pressed", hand.tilts);
  const [n, s, w, e] = hand.tilts ? ["tip down", "tip up", "roll", "roll"]
    : ["forward", "back", "left", "right"];
  const labels = { n, s, w, e };
  for (const side of Object.keys(labels)) {
    $("pad-left").querySelector(`.${side}`).textContent = labels[side];
  }
});
let leaving = 0;
$("leave").addEventListener("click", () => {
  if (leaving) press("quit");
  clearTimeout(leaving);
  leaving = leaving ? 0 : setTimeout(() => {
    leaving = 0;
    text("leave", "Leave");
  }, 3000);
  text("leave", leaving ? "Really leave?" : "Leave");
});
function setPads(wanted) {
  document.body.classList.toggle("with-pads", wanted);
  text("swap", wanted ? "Keys" : "On-screen pads");
}
const coarse = matchMedia("(pointer: coarse)");
coarse.addEventListener("change", () => setPads(coarse.matches));
setPads(coarse.matches);
$("swap").addEventListener("click", () => setPads(!document.body.classList.contains("with-pads")));
document.addEventListener("visibilitychange", () => {
  if (document.hidden && status.state === "running") press("pause");
});
hand.stick($("pad-left"), "left");
hand.stick($("pad-right"), "right");
addEventListener("resize", show);
setInterval(tick, TICK_MS);
connect();
