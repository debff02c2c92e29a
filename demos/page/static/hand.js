// What a person's hand does: keys, pads on the screen, a gamepad. Nothing here is remembered beyond
// the moment: letting go stops, and so does whatever takes the page out of sight, or may keep it from
// hearing that a key goes up.

const OLD_MS = 500; // of a press, when the page comes to it

const WORDS = {
  " ": "space", Enter: "enter", Tab: "tab", Backspace: "backspace", Escape: "escape",
  ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right",
};
// The standard mapping of the Gamepad API, by the names that the server has for buttons.
const STANDARD = {
  a: 0, b: 1, x: 2, y: 3, left_shoulder: 4, right_shoulder: 5, back: 8, start: 9,
  left_stick: 10, right_stick: 11, up: 12, down: 13,
};

export class Hand {
  // onPress(button) is called at each press; onChange() when motion may have changed.
  constructor(onPress, onChange) {
    this.onPress = onPress;
    this.onChange = onChange;
    this.keys = {};
    this.buttons = {};
    this.dead = 0.12;
    this.held = new Map(); // physical key -> its name
    this.pads = { left: null, right: null }; // [x, y], to the right and down
    this.lettingGo = []; // of each stick
    this.tilts = false;
    this.padWasDown = new Set();
    this.wantsTab = () => false;
    addEventListener("keydown", (event) => this.down(event));
    addEventListener("keyup", (event) => this.up(event));
    for (const end of ["blur", "pagehide", "contextmenu", "dragstart"]) {
      addEventListener(end, () => this.release());
    }
    document.addEventListener("visibilitychange", () => document.hidden && this.release());
  }

  release() {
    this.held.clear();
    this.lettingGo.forEach((letGo) => letGo());
    this.onChange();
  }

  down(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) {
      this.release(); // a key that goes up during a shortcut may never be told
      return;
    }
    const name = WORDS[event.key] ?? event.key.toLowerCase();
    const meaning = this.keys[name];
    const onControl = event.target.closest?.("button, summary, a, input");
    if (!meaning || (onControl && (name === "enter" || name === "space"))) return;
    if (name === "tab" && !this.wantsTab()) return;
    event.preventDefault();
    if (event.repeat) return; // also a key that was down before the connection came back
    if (meaning[0] === "press") isOld(event) || this.onPress(meaning[1]);
    else this.held.set(event.code || name, name);
    this.onChange();
  }

  up(event) {
    const name = WORDS[event.key] ?? event.key.toLowerCase();
    if (this.held.delete(event.code || name)) this.onChange();
  }

  // What is asked for now; each entry in [-1, 1].
  read() {
    const ways = { move: [0, 0, 0], turn: [0, 0, 0] };
    let engaged = this.held.size > 0;
    for (const name of this.held.values()) {
      const [way, axis, sign] = this.keys[name];
      ways[way][axis] += sign;
    }
    const { left, right } = this.pads;
    if (left) {
      engaged = true;
      if (this.tilts) add(ways.turn, [left[0], -left[1], 0]);
      else add(ways.move, [-left[1], -left[0], 0]);
    }
    if (right) {
      engaged = true;
      add(ways.move, [0, 0, -right[1]]);
      add(ways.turn, [0, 0, -right[0]]);
    }
    engaged = this.readGamepad(ways) || engaged;
    for (const way of ["move", "turn"]) ways[way] = ways[way].map(within);
    return { ...ways, engaged };
  }

  readGamepad(ways) {
    const pad = [...(navigator.getGamepads?.() ?? [])].find((p) => p?.connected && p.mapping === "standard");
    if (!pad) {
      this.padWasDown.clear();
      return false;
    }
    const focused = document.hasFocus();
    const isDown = (name) => pad.buttons[STANDARD[name]]?.pressed ?? false;
    for (const [name, button] of Object.entries(this.buttons)) {
      const was = this.padWasDown.has(name);
      if (isDown(name)) this.padWasDown.add(name); // first: a press has the pad read again
      else this.padWasDown.delete(name);
      if (isDown(name) && !was && focused) this.onPress(button);
    }
    if (!focused) return false;
    const [lx, ly, rx, ry] = pad.axes.map((value) => this.alive(value));
    if (isDown("left_shoulder")) {
      add(ways.move, [-ly, -lx, -ry]);
      add(ways.turn, [0, 0, -rx]);
      return true;
    }
    if (isDown("right_shoulder")) {
      add(ways.turn, [lx, -ly, -rx]);
      return true;
    }
    return false;
  }

  alive(value) {
    const size = Math.max(0, Math.abs(value) - this.dead) / (1 - this.dead);
    return Math.sign(value) * Math.min(size, 1);
  }

  // Make an element a stick: where it is touched, from its middle, is where it points.
  stick(element, side) {
    const knob = element.querySelector("i");
    let pointer = null;
    const show = (x, y) => (knob.style.transform = `translate(${x * 100}%, ${y * 100}%)`);
    const point = (event) => { // told at the next tick: a screen may move faster than that
      const box = element.getBoundingClientRect();
      const x = (event.clientX - box.left - box.width / 2) / (box.width * 0.36);
      const y = (event.clientY - box.top - box.height / 2) / (box.height * 0.36);
      const size = Math.max(1, Math.hypot(x, y));
      this.pads[side] = [this.alive(x / size), this.alive(y / size)];
      show(x / size, y / size);
    };
    const letGo = () => {
      pointer = null;
      this.pads[side] = null;
      element.classList.remove("held");
      show(0, 0);
    };
    this.lettingGo.push(letGo);
    element.addEventListener("pointerdown", (event) => {
      if (pointer !== null) return;
      event.preventDefault();
      pointer = event.pointerId;
      element.setPointerCapture(pointer);
      element.classList.add("held");
      point(event);
      this.onChange();
    });
    element.addEventListener("pointermove", (event) => event.pointerId === pointer && point(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      element.addEventListener(end, (event) => {
        if (event.pointerId !== pointer) return;
        letGo();
        this.onChange();
      });
    }
    element.addEventListener("contextmenu", (event) => {
      event.preventDefault(); // a long press is no menu here,
      event.stopPropagation(); // and lets go of nothing
    });
  }
}

// Whether something was pressed while the page could not listen, and is not meant any more.
export function isOld(event) {
  return performance.now() - event.timeStamp > OLD_MS;
}

function add(to, values) {
  values.forEach((value, axis) => (to[axis] += value));
}

function within(value) {
  return Math.round(Math.min(1, Math.max(-1, value)) * 1000) / 1000;
}
