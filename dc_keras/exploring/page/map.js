"use strict";
// The map: one dot an image, coloured by cluster, on a Canvas2D. From near, the images themselves.

// Neighbouring numbers get hues far apart: steps of the golden angle.
function clusterColour(rank) {
  const hue = (rank * 137.508 + 210) % 360;
  const lightness = 52 + ((rank * 7) % 3) * 6;
  return `hsl(${hue.toFixed(1)} 58% ${lightness}%)`;
}

class ClusterMap {
  // Options: open(place), hover(place or -1, x, y).
  constructor(canvas, positions, options) {
    this.canvas = canvas;
    this.positions = positions;
    this.options = options;
    this.count = positions.length / 2;
    this.highlighted = -1; // rank
    this.hovered = -1;
    this.pointers = new Map();
    this.awaited = new Set();
    this.index();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
    this.listen();
  }

  remove() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  // Cells of a grid over the map, each with its images, to find what is near a point.
  index() {
    this.across = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(this.count / 4))));
    const cells = this.across * this.across;
    this.cellStarts = new Int32Array(cells + 1);
    const cellOf = new Int32Array(this.count);
    for (let i = 0; i < this.count; i += 1) {
      cellOf[i] = this.cellAt(this.positions[2 * i], this.positions[2 * i + 1]);
      this.cellStarts[cellOf[i] + 1] += 1;
    }
    for (let i = 0; i < cells; i += 1) this.cellStarts[i + 1] += this.cellStarts[i];
    const next = this.cellStarts.slice();
    this.inCells = new Int32Array(this.count);
    for (let i = 0; i < this.count; i += 1) {
      this.inCells[next[cellOf[i]]] = i;
      next[cellOf[i]] += 1;
    }
  }

  column(value) {
    return Math.max(0, Math.min(this.across - 1, Math.floor((value / 65536) * this.across)));
  }

  cellAt(x, y) {
    return this.column(y) * this.across + this.column(x);
  }

  // Calls visit(place) for the images in a rectangle of the map's own units.
  within(left, top, right, bottom, visit) {
    for (let row = this.column(top); row <= this.column(bottom); row += 1) {
      const first = this.cellStarts[row * this.across + this.column(left)];
      const last = this.cellStarts[row * this.across + this.column(right) + 1];
      for (let i = first; i < last; i += 1) visit(this.inCells[i]);
    }
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight) return;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.ratio = ratio;
    if (!this.scale) this.fit();
    this.redraw();
  }

  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    let [right, bottom] = [1, 1];
    for (let i = 0; i < this.count; i += 1) {
      right = Math.max(right, this.positions[2 * i]);
      bottom = Math.max(bottom, this.positions[2 * i + 1]);
    }
    const room = 28;
    this.smallest = Math.min((clientWidth - 2 * room) / right, (clientHeight - 2 * room) / bottom);
    this.scale = this.smallest;
    this.x = (clientWidth - right * this.scale) / 2;
    this.y = (clientHeight - bottom * this.scale) / 2;
    this.redraw();
  }

  redraw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { canvas, scale, x, y, positions, ratio } = this;
    if (!ratio || !canvas.isConnected) return;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const zoom = scale / this.smallest;
    const radius = Math.min(5, (this.count > 20000 ? 1.1 : this.count > 3000 ? 1.9 : 3.2)
      * zoom ** 0.35);
    // Places are in the order of the clusters, so that colours change seldom.
    const visible = this.visible();
    const room = (canvas.clientWidth * canvas.clientHeight) / 2500;
    const images = visible.length <= Math.min(220, room) && zoom > 2.2;
    let rank = -1;
    let end = 0;
    let open = false;
    for (const place of visible) {
      if (place >= end) {
        if (open) context.fill();
        rank = Data.rankAt(place);
        end = Data.end(rank);
        const faint = this.highlighted >= 0 && rank !== this.highlighted;
        context.globalAlpha = faint ? 0.1 : dark ? 0.9 : 0.8;
        context.fillStyle = clusterColour(rank);
        context.beginPath();
        open = true;
      }
      const left = positions[2 * place] * scale + x;
      const top = positions[2 * place + 1] * scale + y;
      if (visible.length > 20000) {
        context.rect(left - radius, top - radius, 2 * radius, 2 * radius);
      } else {
        context.moveTo(left + radius, top);
        context.arc(left, top, radius, 0, 2 * Math.PI);
      }
    }
    if (open) context.fill();
    if (images) this.drawImages(context, visible);
    if (this.hovered >= 0) this.ring(context, this.hovered, dark);
    context.globalAlpha = 1;
  }

  visible() {
    const { clientWidth, clientHeight } = this.canvas;
    if (this.scale <= this.smallest * 1.02) return Int32Array.from({ length: this.count }, (_, i) => i);
    const found = [];
    const left = -this.x / this.scale;
    const top = -this.y / this.scale;
    this.within(left, top, left + clientWidth / this.scale, top + clientHeight / this.scale,
      (place) => found.push(place));
    return Int32Array.from(found).sort();
  }

  drawImages(context, visible) {
    const side = Math.max(20, Math.min(64, 900 / Math.sqrt(visible.length + 1)));
    for (const place of visible) {
      const bitmap = this.bitmap(place);
      if (!bitmap) continue;
      const rank = Data.rankAt(place);
      context.globalAlpha = this.highlighted >= 0 && rank !== this.highlighted ? 0.15 : 1;
      const left = this.positions[2 * place] * this.scale + this.x - side / 2;
      const top = this.positions[2 * place + 1] * this.scale + this.y - side / 2;
      context.fillStyle = clusterColour(rank);
      context.fillRect(left - 2, top - 2, side + 4, side + 4);
      context.drawImage(bitmap, left, top, side, side);
    }
  }

  // The thumbnail of an image, or null until it is there.
  bitmap(place) {
    if (this.awaited.has(place)) return null;
    let found = null;
    let drawing = true;
    this.awaited.add(place);
    Cells.want(place, (bitmap) => {
      this.awaited.delete(place);
      // What is there already is drawn now.
      if (drawing) found = bitmap;
      else this.redraw();
    });
    drawing = false;
    return found;
  }

  ring(context, place, dark) {
    context.globalAlpha = 1;
    context.strokeStyle = dark ? "#fff" : "#111";
    context.lineWidth = 2;
    context.beginPath();
    context.arc(this.positions[2 * place] * this.scale + this.x,
      this.positions[2 * place + 1] * this.scale + this.y, 7, 0, 2 * Math.PI);
    context.stroke();
  }

  // The image under a point of the canvas, or -1.
  at(left, top) {
    const reach = 14;
    let nearest = -1;
    let least = reach * reach;
    this.within((left - reach - this.x) / this.scale, (top - reach - this.y) / this.scale,
      (left + reach - this.x) / this.scale, (top + reach - this.y) / this.scale, (place) => {
        const across = this.positions[2 * place] * this.scale + this.x - left;
        const down = this.positions[2 * place + 1] * this.scale + this.y - top;
        const distance = across * across + down * down;
        if (distance < least) [nearest, least] = [place, distance];
      });
    return nearest;
  }

  highlight(rank) {
    this.highlighted = rank;
    this.redraw();
  }

  pan(across, down) {
    this.x += across;
    this.y += down;
    this.redraw();
  }

  zoom(factor, left = this.canvas.clientWidth / 2, top = this.canvas.clientHeight / 2) {
    const scale = Math.max(this.smallest * 0.8, Math.min(this.smallest * 400, this.scale * factor));
    this.x = left - ((left - this.x) * scale) / this.scale;
    this.y = top - ((top - this.y) * scale) / this.scale;
    this.scale = scale;
    this.redraw();
  }

  listen() {
    const { canvas, pointers } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0018)), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      this.moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => {
        const pressed = pointers.delete(event.pointerId);
        if (!pressed || name === "pointercancel" || this.moved > 4 || pointers.size) return;
        const place = this.at(event.offsetX, event.offsetY);
        if (place >= 0) this.options.open(place);
      });
    }
    canvas.addEventListener("pointerleave", () => this.hover(-1, 0, 0));
    canvas.addEventListener("dblclick", (event) => this.zoom(2, event.offsetX, event.offsetY));
    canvas.addEventListener("keydown", (event) => {
      const keys = {
        ArrowLeft: () => this.pan(60, 0), ArrowRight: () => this.pan(-60, 0),
        ArrowUp: () => this.pan(0, 60), ArrowDown: () => this.pan(0, -60),
        "+": () => this.zoom(1.5), "=": () => this.zoom(1.5), "-": () => this.zoom(1 / 1.5),
        0: () => this.fit(),
      };
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  move(event) {
    const [x, y] = [event.offsetX, event.offsetY];
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.hover(this.at(x, y), x, y);
      return;
    }
    this.moved += Math.abs(x - before.x) + Math.abs(y - before.y);
    if (this.pointers.size === 2) {
      const [, other] = [...this.pointers].find(([id]) => id !== event.pointerId);
      const was = Math.hypot(before.x - other.x, before.y - other.y);
      const now = Math.hypot(x - other.x, y - other.y);
      if (was > 0) this.zoom(now / was, (x + other.x) / 2, (y + other.y) / 2);
    } else if (this.moved > 4) {
      this.pan(x - before.x, y - before.y);
      this.hover(-1, 0, 0);
    }
    this.pointers.set(event.pointerId, { x, y });
  }

  hover(place, x, y) {
    if (place !== this.hovered) {
      this.hovered = place;
      this.canvas.classList.toggle("pointing", place >= 0);
      this.redraw();
    }
    this.options.hover(place, x, y);
  }
}
