// The page of questions: shows two clips over and over, and tells the server which is better.

const ADDRESS = location.href.split(/[?#]/)[0];
const LEAST_MS = 2000; // that a clip lasts: what takes half a second is played slower
const REST_MS = 500; // at the end of a clip, before it begins anew
const CHOSEN_MS = 160; // for which an answer is seen before the next question comes
const UNSEEN_MS = 150; // for which a new question takes no answer: it is a second press for the last
const AGAIN_MS = 1000; // between two attempts to connect
const KEYS = {
  ArrowLeft: "first", 1: "first", ArrowRight: "second", 2: "second", ArrowUp: "equal", "=": "equal",
  ArrowDown: "cannot tell", "?": "cannot tell",
};
const SIDES = ["first", "second"];

const $ = (id) => document.getElementById(id);
const clips = new Map(); // question -> promise of a clip
const given = new Set(); // questions that were answered here
const told = { next: [], answered: 0, open: 0 };
let socket = null;
let shown = null; // {number, clip, since, start}: when it came, and when it was last begun anew
let over = false;
let why = ""; // the server has last refused an answer

// what the server says

function connect() {
  socket = new WebSocket(ADDRESS.replace(/^http/, "ws") + "answers");
  socket.onmessage = (message) => {
    const said = JSON.parse(message.data);
    over = over || said.over === true;
    Object.assign(told, { problem: "" }, said);
    refresh();
  };
  socket.onclose = (event) => {
    socket = null;
    why = event.code === 1008 ? event.reason : why;
    given.clear(); // what did not arrive is asked again
    refresh();
    if (!over) setTimeout(connect, AGAIN_MS);
  };
}

function refresh() {
  $("task").textContent = told.task ? `Wanted: ${told.task}` : "";
  $("answered").textContent = told.answered;
  $("open").textContent = told.open;
  $("labels").textContent = told.labels ? `, up to ${told.labels} in all` : "";
  $("bar").style.setProperty("--share", told.answered / (told.labels || told.answered + told.open || 1));
  $("link").lastElementChild.textContent = socket ? "connected" : over ? "ended" : "no connection";
  const next = told.next.filter((number) => !given.has(number));
  const wanted = socket && !told.problem && !over ? next : [];
  wanted.forEach(fetched);
  for (const number of clips.keys()) if (!told.next.includes(number)) clips.delete(number);
  if (shown && wanted[0] !== shown.number) shown = null;
  if (!shown && wanted.length) show(wanted[0]);
  state();
}

function state() {
  const [name, title, text] = over ? ["over", "That is all", "Nothing more is asked; you may close this page."]
    : !socket ? ["lost", "No connection", "The program that asks does not answer. Once it runs again, open the address that it prints: your answers are kept."]
    : told.problem ? ["problem", "There is a problem", told.problem]
    : shown?.clip ? ["asking", "", ""]
    : shown ? ["loading", "Drawing the clips", ""]
    : ["waiting", "Nothing to answer now", "The policy is learning. The next questions come by themselves."];
  document.body.dataset.state = name;
  document.body.dataset.question = shown?.clip ? shown.number : "";
  $("veil").querySelector("h2").textContent = title;
  $("veil").querySelector("p").textContent = text;
  document.querySelectorAll("button").forEach((button) => (button.disabled = name !== "asking"));
}

// clips

function fetched(number) {
  if (!clips.has(number)) clips.set(number, load(number));
  return clips.get(number);
}

async function load(number) {
  const response = await fetch(`${ADDRESS}clip/${number}`);
  if (!response.ok) throw new Error(await response.text());
  const data = new DataView(await response.arrayBuffer());
  const count = data.getUint32(0);
  const images = [];
  for (let at = 4; images.length < 2 * count; ) {
    const length = data.getUint32(at);
    const jpeg = new Uint8Array(data.buffer, at + 4, length);
    images.push(createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })));
    at += 4 + length;
  }
  const all = await Promise.all(images);
  const lasts = 1000 * count * Number(response.headers.get("Period"));
  return { first: all.slice(0, count), second: all.slice(count), count, lasts,
    played: Math.max(lasts, LEAST_MS) };
}

async function show(number) {
  shown = { number, clip: null, start: 0 };
  try {
    const clip = await fetched(number);
    if (shown?.number !== number) return;
    shown = { number, clip, since: performance.now(), start: performance.now() };
    const slower = clip.played / clip.lasts;
    $("about").textContent = (why && `Not saved: ${why}. `)
      + `Question ${number + 1}: ${(clip.lasts / 1000).toFixed(1)} s`
      + (slower > 1.05 ? `, ${slower.toFixed(1)} times slower than it was` : "");
    draw(performance.now());
  } catch (error) {
    clips.delete(number);
    if (shown?.number !== number) return;
    told.problem = error.message;
  }
  state();
}

function draw(now) {
  const { clip, start } = shown;
  const share = Math.min(((now - start) % (clip.played + REST_MS)) / clip.played, 1);
  const frame = Math.max(0, Math.min(Math.floor(share * clip.count), clip.count - 1));
  for (const side of SIDES) {
    const image = clip[side][frame];
    const canvas = $(side);
    if (canvas.width !== image.width) canvas.width = image.width;
    if (canvas.height !== image.height) canvas.height = image.height;
    canvas.getContext("2d").drawImage(image, 0, 0);
  }
  $("time").style.transform = `scaleX(${Math.max(share, 0)})`;
}

function play(now) {
  if (shown?.clip) draw(now);
  requestAnimationFrame(play);
}

// answers

function answer(value) {
  if (document.body.dataset.state !== "asking" || given.has(shown.number)) return;
  if (performance.now() - shown.since < UNSEEN_MS) return;
  const question = shown.number;
  given.add(question);
  why = "";
  socket.send(JSON.stringify({ question, answer: value }));
  const lit = document.querySelectorAll(`[data-answer="${value}"]`);
  lit.forEach((element) => element.classList.add("chosen"));
  setTimeout(() => {
    lit.forEach((element) => element.classList.remove("chosen"));
    refresh();
  }, CHOSEN_MS);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const value = KEYS[event.key];
  if (value !== undefined) {
    event.preventDefault();
    if (!event.repeat) answer(value); // a key that is held answers once
  } else if (event.key === " ") {
    event.preventDefault();
    if (shown?.clip) shown.start = performance.now();
  }
});
document.querySelectorAll("[data-answer]").forEach((element) => {
  element.addEventListener("click", () => {
    element.blur(); // else the space bar would press it once more
    answer(element.dataset.answer);
  });
});

connect();
requestAnimationFrame(play);
