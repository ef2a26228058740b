"use strict";
// Shows tiles of an image and of outlines on a canvas: move, zoom, jump to spots.
class Viewer {
  constructor(box) {
    this.box = box;
    this.canvas = box.querySelector("canvas");
    this.data = JSON.parse(box.querySelector("script").textContent);
    this.tiles = new Map();
    this.shown = {};
    this.fingers = new Map();
    box.hidden = false;
    for (const input of box.querySelectorAll("[data-layer]")) {
      this.shown[input.dataset.layer] = input.checked;
      input.addEventListener("change", () => {
        this.shown[input.dataset.layer] = input.checked;
        this.draw();
      });
    }
    for (const button of box.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.act(button.dataset.do));
    }
    this.listen();
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    this.resize();
    this.whole();
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => {
      // The page scrolls until the image was clicked.
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), this.at(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.fingers.set(event.pointerId, this.at(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = this.fingers.get(event.pointerId);
      if (!before) return;
      const now = this.at(event);
      const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
        this.zoom(apart(now) / Math.max(1, apart(before)), other);
      } else {
        this.move((before[0] - now[0]) / this.scale, (before[1] - now[1]) / this.scale);
      }
      this.fingers.set(event.pointerId, now);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.fingers.delete(event.pointerId));
    }
    canvas.addEventListener("dblclick", (event) => this.zoom(2, this.at(event)));
  }

  at(event) {
    const place = this.canvas.getBoundingClientRect();
    return [event.clientX - place.left, event.clientY - place.top];
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 60 / this.scale;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (moves[event.key]) this.move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.act("in");
    else if (event.key === "-") this.act("out");
    else if (event.key === "0") this.act("whole");
    else if (event.key === "o" || event.key === "O") this.act("outlines");
    else return;
    event.preventDefault();
  }

  act(what) {
    if (what === "in") this.zoom(1.5);
    else if (what === "out") this.zoom(1 / 1.5);
    else if (what === "whole") this.whole();
    else if (what === "full") {
      if (document.fullscreenElement) document.exitFullscreen();
      else if (this.box.requestFullscreen) this.box.requestFullscreen();
    } else if (what === "outlines") {
      const on = !Object.values(this.shown).some(Boolean);
      for (const input of this.box.querySelectorAll("[data-layer]")) {
        input.checked = this.shown[input.dataset.layer] = on;
      }
      this.draw();
    }
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.max(1, Math.round(this.width * ratio));
    this.canvas.height = Math.max(1, Math.round(this.height * ratio));
    if (this.scale) this.move(0, 0);
  }

  fit() {
    return Math.min(this.width / this.data.width, this.height / this.data.height) || 1;
  }

  whole() {
    this.scale = this.fit();
    this.x = this.data.width / 2;
    this.y = this.data.height / 2;
    this.move(0, 0);
  }

  spot(number) {
    const [x0, y0, x1, y1] = this.data.spots[number];
    this.scale = 0.8 * Math.min(this.width / (x1 - x0), this.height / (y1 - y0));
    this.x = (x0 + x1) / 2;
    this.y = (y0 + y1) / 2;
    this.move(0, 0);
    this.box.scrollIntoView({ block: "center" });
    this.canvas.focus({ preventScroll: true });
  }

  zoom(factor, place = [this.width / 2, this.height / 2]) {
    const [dx, dy] = [place[0] - this.width / 2, place[1] - this.height / 2];
    const scale = Math.min(40, Math.max(this.fit() / 2, this.scale * factor));
    this.x += dx / this.scale - dx / scale;
    this.y += dy / this.scale - dy / scale;
    this.scale = scale;
    this.move(0, 0);
  }

  move(dx, dy) {
    this.x = Math.min(this.data.width, Math.max(0, this.x + dx));
    this.y = Math.min(this.data.height, Math.max(0, this.y + dy));
    this.draw();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const ratio = this.canvas.width / Math.max(1, this.width);
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const outlined = this.scale >= this.data.outlined;
    let missing = 0;
    for (const [name, levels] of Object.entries(this.data.layers)) {
      if (name !== "image" && !(this.shown[name] && outlined)) continue;
      missing += this.paintLayer(context, ratio, name, levels);
    }
    this.ruler();
    const percent = this.scale * 100;
    this.box.querySelector(".status").textContent =
      `${percent < 10 ? percent.toPrecision(2) : Math.round(percent)} %` + (outlined ? "" : ": outlines appear when you zoom in");
    Object.assign(this.box.dataset, { scale: this.scale, x: this.x, y: this.y, missing });
  }

  // Coarse levels lie under fine ones, which need not have every tile.
  paintLayer(context, ratio, name, levels) {
    const wanted = this.scale * ratio;
    let last = levels.findIndex((level) => level.scale >= 0.7 * wanted);
    if (last < 0) last = levels.length - 1;
    let first = last;
    if (name === "image") while (first > 0 && first > last - 2) first -= 1;
    else if (last > 0 && Object.keys(levels[last].tiles).length < Object.keys(levels[last - 1].tiles).length) first -= 1;
    let missing = 0;
    for (let place = first; place <= last; place += 1) {
      const level = levels[place];
      const edge = this.data.tile / level.scale;
      const left = this.x - this.width / 2 / this.scale;
      const top = this.y - this.height / 2 / this.scale;
      context.imageSmoothingEnabled = level.scale > wanted;
      for (let row = Math.max(0, Math.floor(top / edge)); row * edge < top + this.height / this.scale; row += 1) {
        for (let column = Math.max(0, Math.floor(left / edge)); column * edge < left + this.width / this.scale; column += 1) {
          const uri = level.tiles[`${column}_${row}`];
          if (!uri) continue;
          const tile = this.load(`${name}/${place}/${column}_${row}`, uri);
          if (!tile) { missing += 1; continue; }
          const x = Math.round((column * edge - left) * wanted);
          const y = Math.round((row * edge - top) * wanted);
          const right = Math.round((column * edge + tile.width / level.scale - left) * wanted);
          const bottom = Math.round((row * edge + tile.height / level.scale - top) * wanted);
          context.drawImage(tile, x, y, right - x, bottom - y);
        }
      }
    }
    return missing;
  }

  load(key, uri) {
    let tile = this.tiles.get(key);
    if (!tile) {
      tile = new Image();
      tile.onload = () => { tile.ready = true; this.draw(); };
      tile.src = uri;
      if (this.tiles.size > 400) this.tiles.delete(this.tiles.keys().next().value);
      this.tiles.set(key, tile);
    }
    return tile.ready ? tile : null;
  }

  ruler() {
    const unit = this.data.um || 1;
    const longest = (Math.min(160, this.width / 3) / this.scale) * unit;
    const power = 10 ** Math.floor(Math.log10(longest));
    const length = [5, 2, 1].find((step) => step * power <= longest) * power;
    const name = this.data.um ? (length >= 1000 ? `${length / 1000} mm` : `${+length.toPrecision(2)} µm`) : `${+length.toPrecision(2)} px`;
    const ruler = this.box.querySelector(".ruler");
    ruler.firstElementChild.textContent = name;
    ruler.lastElementChild.style.width = `${(length / unit) * this.scale}px`;
  }
}

const viewers = new Map();
const open = (box) => {
  if (!viewers.has(box)) viewers.set(box, new Viewer(box));
  return viewers.get(box);
};
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) open(entry.target.nextElementSibling);
}, { rootMargin: "800px" });
for (const box of document.querySelectorAll(".viewer")) near.observe(box.previousElementSibling);
for (const button of document.querySelectorAll("[data-spot]")) {
  button.addEventListener("click", () => open(document.getElementById(button.dataset.viewer)).spot(+button.dataset.spot));
}
for (const box of document.querySelectorAll(".viewer")) {
  box.hidden = false;
}
