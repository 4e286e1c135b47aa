"use strict";
// Draws the timeline from #data, plays turns and moves between them. The words are in the table's rows only: to show a
// turn, its row's cells are copied, so that no text is taken for markup.
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const turns = data.turns.map(([start, end, speaker, style, probabilities]) => ({start, end, speaker, style, probabilities}));
if (!turns.length) return;

const at = id => document.getElementById(id);
const [overview, lanes, panel, sound] = ["overview", "lanes", "turn", "sound"].map(at);
const rows = [...document.querySelectorAll("#turns tbody tr")];
const classes = data.styles.slice(0, turns[0].probabilities.length);
const envelope = data.sound && Int8Array.from(atob(data.sound.envelope), character => character.charCodeAt(0));
const AXIS = 20, WAVE = 48, EMOTION = 26, SPEAKER = 18, PROBABILITY = 30, SPACE = 8;
const MOST_SPEAKERS = 8, MOST_AT_ONCE = 4, ROOMY = 18, SHORTEST = 1;
const GREYS = ["#444444", "#8a8a8a", "#bcbcbc", "#666666"];
let view = {from: 0, to: data.duration}, current = 0, shown = -1, stopAt = null;

// --- drawing

function add(parent, name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Lines and dots over the colour of a class, different for each.
function patterns(svg) {
  const marks = [
    [], ["M0 8L8 0"], ["M0 0L8 8"], ["M0 4H8"], ["M4 0V8"], ["M0 8L8 0", "M0 0L8 8"], ["M3 4h2"], ["M0 4H8", "M4 0V8"],
  ];
  const known = add(svg, "defs", {});
  data.styles.forEach(([,,, number], position) => {
    const unsure = position === data.styles.length - 1;
    const pattern = add(known, "pattern", {id: `pattern-${position}`, width: 8, height: 8, patternUnits: "userSpaceOnUse"});
    for (const mark of unsure ? ["M1 1h1", "M5 5h1"] : marks[number % marks.length])
      add(pattern, "path", {d: mark, stroke: "#1b1b1b", "stroke-opacity": .35, "stroke-width": number < marks.length ? 1.2 : 2.4});
  });
}

// The row of each turn: overlapping turns are drawn one below the other.
function rowsWithoutOverlap() {
  const ends = [], found = [];
  for (const position of turns.keys()) {
    let row = ends.findIndex(end => end <= turns[position].start + 1e-6);
    if (row < 0) row = ends.length < MOST_AT_ONCE ? ends.length : MOST_AT_ONCE - 1;
    ends[row] = Math.max(ends[row] ?? 0, turns[position].end);
    found[position] = row;
  }
  return {of: found, count: ends.length};
}
const stacked = rowsWithoutOverlap();

const speakerLanes = Math.min(data.speakers.length, MOST_SPEAKERS);
const laneOf = turn => Math.min(turn.speaker, MOST_SPEAKERS - 1);
const laneName = lane => lane === MOST_SPEAKERS - 1 && data.speakers.length > MOST_SPEAKERS ? "others" : data.speakers[lane];

function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6), two = number => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function waveform(svg, x, from, to, left, right, middle, half) {
  const duration = data.sound.seconds, points = envelope.length / 2;
  const last = Math.min(right, x(duration));
  const high = [], low = [];
  for (let column = Math.max(left, x(0)); column < last; column++) {
    const time = from + (column - left) / (right - left) * (to - from);
    const step = (to - from) / (right - left);
    const first = Math.min(points - 1, Math.floor(time / duration * points));
    const end = Math.max(first + 1, Math.min(points, Math.floor((time + step) / duration * points)));
    let top = -128, bottom = 127;
    for (let point = first; point < end; point++) {
      bottom = Math.min(bottom, envelope[2 * point]);
      top = Math.max(top, envelope[2 * point + 1]);
    }
    high.push(`${column.toFixed(0)} ${(middle - top / 127 * half - .4).toFixed(1)}`);
    low.push(`${column.toFixed(0)} ${(middle - bottom / 127 * half + .4).toFixed(1)}`);
  }
  if (high.length) add(svg, "path", {d: `M${high.join("L")}L${low.reverse().join("L")}Z`, fill: "#5a5a5a"});
}

// One path for the blocks of a class, each from the baseline up to its height.
const blocks = (those, x, base, height) => those
  .map(turn => `M${x(turn.start).toFixed(1)} ${base}V${(base - height(turn)).toFixed(1)}H${Math.max(x(turn.end), x(turn.start) + .5).toFixed(1)}V${base}Z`)
  .join("");

function drawOverview() {
  const width = overview.clientWidth, x = time => time / data.duration * width;
  overview.replaceChildren();
  overview.setAttribute("viewBox", `0 0 ${width} 44`);
  if (envelope) waveform(overview, x, 0, data.duration, 0, width, 15, 14);
  data.styles.forEach(([,, colour], style) =>
    add(overview, "path", {d: blocks(turns.filter(turn => turn.style === style), x, 42, () => envelope ? 11 : 40), fill: colour, stroke: "#5a5a5a", "stroke-width": style === classes.length ? .7 : 0}));
  add(overview, "rect", {class: "frame", y: 1, height: 42, fill: "none", stroke: "#1b1b1b", "stroke-width": 2, rx: 3});
  add(overview, "path", {class: "head", stroke: "#0072b2", "stroke-width": 2});
}

const gutter = () => lanes.clientWidth < 600 ? 76 : 116;
const scale = () => {
  const left = gutter(), right = lanes.clientWidth;
  return {
    left, right,
    x: time => left + (time - view.from) / (view.to - view.from) * (right - left),
    time: x => view.from + (x - left) / (right - left) * (view.to - view.from),
  };
};

// Where each lane is, from the top.
function places() {
  let y = AXIS;
  const next = height => (y += height) - height;
  const wave = envelope ? next(WAVE + SPACE) : null;
  const emotion = next(stacked.count * EMOTION + SPACE);
  const speakers = next(speakerLanes * SPEAKER + SPACE);
  const probability = next(classes.length * PROBABILITY);
  return {wave, emotion, speakers, probability, height: y + 6};
}

function drawLanes() {
  const {left, right, x} = scale(), place = places();
  lanes.replaceChildren();
  lanes.setAttribute("viewBox", `0 0 ${right} ${place.height}`);
  lanes.setAttribute("height", place.height);
  patterns(lanes);
  const clip = add(add(lanes, "defs", {}), "clipPath", {id: "clip"});
  add(clip, "rect", {x: left, y: 0, width: right - left, height: place.height});
  const visible = turns.map((turn, position) => ({...turn, position})).filter(turn => turn.end > view.from && turn.start < view.to);
  axis(x, left, right, place);
  const inside = add(lanes, "g", {"clip-path": "url(#clip)"});
  for (const [from, to] of data.gaps)
    add(inside, "rect", {x: x(from), y: AXIS, width: Math.max(1, x(to) - x(from)), height: place.height - AXIS, fill: "#eeeeee"});
  if (envelope) {
    name("sound", place.wave + WAVE / 2);
    waveform(inside, x, view.from, view.to, left, right, place.wave + WAVE / 2, WAVE / 2);
  }
  name("emotion", place.emotion + stacked.count * EMOTION / 2);
  for (const turn of visible) emotionBlock(inside, turn, x, place.emotion + stacked.of[turn.position] * EMOTION);
  for (let lane = 0; lane < speakerLanes; lane++) {
    name(laneName(lane), place.speakers + (lane + .5) * SPEAKER);
    for (const turn of visible.filter(turn => laneOf(turn) === lane))
      add(inside, "rect", {
        "data-turn": turn.position, x: x(turn.start), y: place.speakers + lane * SPEAKER + 2, rx: 2,
        width: Math.max(1, x(turn.end) - x(turn.start) - 1), height: SPEAKER - 4, fill: GREYS[lane % GREYS.length],
      });
  }
  classes.forEach(([label, letter, colour], style) => {
    const base = place.probability + (style + 1) * PROBABILITY - 3, height = PROBABILITY - 6;
    name(`${letter} ${label}`, base - height / 2);
    add(lanes, "path", {d: `M${left} ${base}H${right}`, stroke: "#d9d9d9"});
    add(inside, "path", {d: blocks(visible, x, base, turn => turn.probabilities[style] * height), fill: colour});
    const line = visible.map(turn => `${((x(turn.start) + x(turn.end)) / 2).toFixed(1)} ${(base - turn.probabilities[style] * height).toFixed(1)}`);
    if (line.length) add(inside, "path", {d: `M${line.join("L")}`, fill: "none", stroke: "#1b1b1b", "stroke-width": visible.length < (right - left) / 3 ? 1.1 : .4, "stroke-linejoin": "round"});
  });
  add(inside, "g", {class: "marks"});
  add(inside, "path", {class: "head", stroke: "#0072b2", "stroke-width": 2});
}

// A lane's name in the gutter, shortened to fit.
function name(text, middle) {
  const label = add(lanes, "text", {x: 0, y: middle + 4}, text), characters = [...text].slice(0, gutter());
  while (characters.length && label.getComputedTextLength() > gutter() - 8) {
    characters.pop();
    label.textContent = characters.join("") + "…";
  }
  add(label, "title", {}, text);
}

function axis(x, left, right, place) {
  const steps = data.timed ? [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200] : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
  const wanted = (view.to - view.from) / Math.max(2, (right - left) / 80);
  const step = steps.find(one => one >= wanted) ?? Math.ceil(wanted);
  for (let mark = Math.ceil(view.from / step) * step; mark < view.to; mark += step) {
    const time = data.timed ? mark : mark + step - 1;  // the turn of a round number
    add(lanes, "path", {d: `M${x(time)} ${AXIS - 4}V${place.height}`, stroke: "#ececec"});
    if (x(time) < right - 30) add(lanes, "text", {x: x(time) + 2, y: 12, class: "soft"}, data.timed ? clock(time) : time + 1);
  }
}

function emotionBlock(parent, turn, x, top) {
  const [, letter, colour] = data.styles[turn.style], width = Math.max(1, x(turn.end) - x(turn.start) - .5);
  const shape = {x: x(turn.start), y: top + 1, width, height: EMOTION - 2, rx: 2};
  add(parent, "rect", {...shape, "data-turn": turn.position, fill: colour, stroke: "#1b1b1b", "stroke-width": width > 4 ? .8 : 0});
  if (width > 4) add(parent, "rect", {...shape, fill: `url(#pattern-${turn.style})`, "pointer-events": "none"});
  if (width > 13)
    add(parent, "text", {
      class: "letter", x: (Math.max(x(turn.start), gutter()) + Math.min(x(turn.end), lanes.clientWidth)) / 2, y: top + EMOTION / 2 + 4,
      stroke: "#ffffff", "stroke-width": 3, "paint-order": "stroke",
    }, letter);
}

// The chosen turn's frame, and dashed frames around the turns with the largest weights.
function mark() {
  const group = lanes.querySelector(".marks"), {x} = scale(), top = places().emotion;
  group.replaceChildren();
  const frame = (position, attributes) => add(group, "rect", {
    x: x(turns[position].start), y: top + stacked.of[position] * EMOTION, rx: 3, height: EMOTION, fill: "none", "pointer-events": "none",
    width: Math.max(2, x(turns[position].end) - x(turns[position].start)), stroke: "#1b1b1b", ...attributes,
  });
  for (const link of rows[shown].querySelectorAll(".why a"))
    frame(target(link), {"stroke-width": 2.5, "stroke-dasharray": "3 3"});
  frame(shown, {"stroke-width": 3.5});
}

function heads() {
  const {x} = scale(), place = places(), inView = sound && sound.currentTime >= view.from && sound.currentTime <= view.to;
  if (!sound) return;
  const over = sound.currentTime / data.duration * overview.clientWidth;
  overview.querySelector(".head").setAttribute("d", `M${over} 0V44`);
  lanes.querySelector(".head").setAttribute("d", inView ? `M${x(sound.currentTime)} ${AXIS}V${place.height}` : "");
}

function frame() {
  const width = overview.clientWidth, box = overview.querySelector(".frame"), whole = view.to - view.from >= data.duration - 1e-6;
  box.setAttribute("x", view.from / data.duration * width + 1);
  box.setAttribute("width", Math.max(4, (view.to - view.from) / data.duration * width - 2));
  box.setAttribute("visibility", whole ? "hidden" : "visible");
  at("whole").disabled = at("wider").disabled = whole;
  at("stretch").textContent = whole ? "" : data.timed
    ? `${clock(view.from)} to ${clock(view.to)}`
    : `turns ${Math.floor(view.from) + 1} to ${Math.ceil(view.to)}`;
}

function look(from, to) {
  const length = Math.min(data.duration, Math.max(SHORTEST, to - from));
  const begin = Math.max(0, Math.min(data.duration - length, from));
  view = {from: begin, to: begin + length};
  drawLanes();
  frame();
  if (shown >= 0) mark();
  heads();
}

// --- turns

const target = link => Number(link.hash.slice("#turn-".length)) - 1;

function element(name, kind, ...content) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.append(...content);
  return made;
}

// Show a turn's words, probabilities and reasons.
function show(position) {
  if (position === shown) return;
  shown = position;
  const turn = turns[position], row = rows[position];
  const copied = kind => [...row.querySelector(kind).cloneNode(true).childNodes];
  const when = `Turn ${position + 1} · ${data.timed ? `${clock(turn.start)} to ${clock(turn.end)} · ` : ""}`;
  const why = row.querySelector(".why")?.cloneNode(true);
  const said = element("p", "said", ...copied(".said").filter(one => one.className !== "why"));
  const bars = element("dl", "bars");
  classes.forEach(([label, letter, colour], style) => {
    const bar = element("i");
    bar.style.width = `${100 * turn.probabilities[style]}%`;
    bar.style.background = colour;
    bars.append(element("dt", "", `${letter} ${label}`), element("dd", "", bar), element("dd", "value", turn.probabilities[style].toFixed(2)));
  });
  const left = element("div", "", element("p", "note", when, ...copied(".who")), said);
  for (const link of why?.querySelectorAll("a") ?? []) link.removeAttribute("tabindex");
  if (why) left.append(element("p", "note", "Why: ", why));
  panel.replaceChildren(left, bars);
  mark();
}

function select(position, focus = false) {
  rows[current].classList.remove("here");
  rows[current].tabIndex = -1;
  rows[current].removeAttribute("aria-current");
  current = Math.max(0, Math.min(turns.length - 1, position));
  rows[current].classList.add("here");
  rows[current].tabIndex = 0;
  rows[current].setAttribute("aria-current", "true");
  const {start, end} = turns[current], length = view.to - view.from;
  if (start < view.from || end > view.to) look((start + end) / 2 - length / 2, (start + end) / 2 + length / 2);
  show(current);
  if (focus) rows[current].focus();
}

function play(position, focus = false) {
  select(position, focus);
  if (!sound) return;
  sound.currentTime = turns[current].start;
  stopAt = turns[current].end;
  sound.play().catch(() => {});  // a browser may require a click first; the player reports other errors
}

// The turn at a time; the one that began last if several overlap.
const turnAt = time => turns.findLastIndex(turn => turn.start <= time && time < turn.end);

function under(event) {
  const block = event.target.closest?.("[data-turn]");
  if (block) return Number(block.dataset.turn);
  const {left, time} = scale(), x = event.clientX - lanes.getBoundingClientRect().left;
  return x < left ? -1 : turnAt(time(x));
}

lanes.addEventListener("pointermove", event => {
  const position = event.pointerType === "mouse" ? under(event) : -1;
  if (position >= 0) show(position);
});
lanes.addEventListener("pointerleave", () => show(current));
lanes.addEventListener("click", event => {
  const {left, time} = scale(), x = event.clientX - lanes.getBoundingClientRect().left, position = under(event);
  if (position >= 0) play(position);
  else if (sound && x >= left) sound.currentTime = time(x);
});
overview.addEventListener("click", event => {
  const box = overview.getBoundingClientRect(), time = (event.clientX - box.left) / box.width * data.duration, half = (view.to - view.from) / 2;
  look(time - half, time + half);
  const nearest = turns.reduce((best, turn, position) =>
    Math.abs(turn.start + turn.end - 2 * time) < Math.abs(turns[best].start + turns[best].end - 2 * time) ? position : best, 0);
  select(nearest);
});

at("turns").addEventListener("click", event => {
  const row = event.target.closest("tbody tr"), link = event.target.closest("a");
  if (link) {
    event.preventDefault();
    select(target(link), true);
  } else if (row && getSelection().isCollapsed) play(rows.indexOf(row), true);
});
at("turns").addEventListener("focusin", event => {
  const row = event.target.closest("tbody tr");
  if (row && event.target === row && rows[current] !== row) select(rows.indexOf(row));
});
panel.addEventListener("click", event => {
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault();
  select(target(link));
});

const length = () => view.to - view.from, middle = () => (turns[current].start + turns[current].end) / 2;
const zoom = factor => look(middle() - length() * factor / 2, middle() + length() * factor / 2);
at("closer").addEventListener("click", () => zoom(.5));
at("wider").addEventListener("click", () => zoom(2));
at("whole").addEventListener("click", () => look(0, data.duration));
at("previous").addEventListener("click", () => select(current - 1));
at("next").addEventListener("click", () => select(current + 1));
at("play")?.addEventListener("click", () => play(current));

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target === sound) return;
  const inTable = at("turns").contains(event.target), control = event.target.closest("a, button");
  const step = {ArrowRight: 1, ArrowLeft: -1, ...(inTable ? {ArrowDown: 1, ArrowUp: -1} : {})}[event.key];
  if (step) select(current + step, inTable);
  else if (event.key === "Enter" && !control) play(current, inTable);
  else return;
  event.preventDefault();
});

// --- sound

function follow() {
  if (stopAt !== null && sound.currentTime >= stopAt) sound.pause();
  else if (stopAt === null && !sound.paused) {
    const position = turnAt(sound.currentTime);
    if (position >= 0 && position !== current) select(position);
  }
  heads();
}
function whilePlaying() {
  follow();
  if (!sound.paused) requestAnimationFrame(whilePlaying);
}
if (sound) {
  sound.addEventListener("play", whilePlaying);
  sound.addEventListener("timeupdate", follow);  // a page in the background draws nothing
  sound.addEventListener("pause", () => { stopAt = null; });
  sound.addEventListener("seeking", () => {
    const elsewhere = sound.currentTime < turns[current].start - .1 || sound.currentTime > turns[current].end + .1;
    if (elsewhere) stopAt = null;
    heads();
  });
  sound.addEventListener("error", () => { at("silent").hidden = false; });
}

// --- begin

function layOut() {
  drawOverview();
  look(view.from, view.to);
}
at("picture").hidden = false;
document.body.classList.add("ready");
// Tab reaches one turn, and the arrow keys the others; the panel above has the links of the shown turn's reasons.
for (const row of rows) row.tabIndex = -1;
for (const link of at("turns").querySelectorAll("a")) link.tabIndex = -1;
// The part of the recording that gives each turn enough room.
view.to = data.duration * Math.min(1, (lanes.clientWidth - gutter()) / ROOMY / turns.length);
layOut();
select(/^#turn-\d+$/.test(location.hash) ? target(location) : 0);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width || !lanes.clientWidth) return;  // a phone's address bar changes the height only; paper has no lanes
  width = innerWidth;
  layOut();
});
})();
