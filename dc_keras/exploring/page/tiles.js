"use strict";
// Elements of the page: plain ones, thumbnails, and a grid of thumbnails that holds only those in
// sight. Text from data goes into text nodes and attributes alone, never into markup.

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const counted = (number, one, many = `${one}s`) => (
  `${number.toLocaleString("en")} ${number === 1 ? one : many}`
);

// A cell of a sheet, as the background of an element whose size --s the style sheet sets.
function showCell(element, sheet, cell) {
  const { columns } = Data.summary;
  element.style.backgroundImage = `url("sheets/${sheet}.jpg")`;
  element.style.setProperty("--column", cell % columns);
  element.style.setProperty("--row", Math.floor(cell / columns));
}

const cellsInSheet = () => Data.summary.columns * Data.summary.columns;

// A thumbnail among those of its cluster, which are in the same sheet.
function thumbnailInSheet(place) {
  const cells = cellsInSheet();
  const element = make("span", { class: "thumb" });
  showCell(element, `sheet-${Math.floor(place / cells)}`, place % cells);
  return element;
}

// Thumbnails from anywhere, cut out of their sheets: ten of them may be from ten sheets, each of
// which would take sixteen megabytes as long as it stands behind an element.
const Cells = (() => {
  const MOST_KEPT = 2000;
  const kept = new Map(); // place -> ImageBitmap, the last used at the end
  const wanted = new Map(); // sheet -> Map(place -> what to call)
  let working = false;

  function keep(place, bitmap) {
    kept.delete(place);
    kept.set(place, bitmap);
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }

  // Calls back with the bitmap of a thumbnail, at once where it is there.
  function want(place, callback) {
    if (kept.has(place)) {
      keep(place, kept.get(place));
      callback(kept.get(place));
      return;
    }
    const number = Math.floor(place / cellsInSheet());
    if (!wanted.has(number)) wanted.set(number, new Map());
    const callbacks = wanted.get(number);
    callbacks.set(place, [...(callbacks.get(place) ?? []), callback]);
    // One sheet after the other, so that no two are there at once.
    if (!working) work();
  }

  async function work() {
    working = true;
    while (wanted.size) {
      const [number, callbacks] = wanted.entries().next().value;
      wanted.delete(number);
      await cut(number, callbacks).catch(() => {});
    }
    working = false;
  }

  async function cut(number, callbacks) {
    const { cell, columns } = Data.summary;
    const sheet = new Image();
    // Not decode(), which fills half a gigabyte with sheets before it lets the first ones go.
    await new Promise((resolve, reject) => {
      sheet.onload = resolve;
      sheet.onerror = reject;
      sheet.src = `sheets/sheet-${number}.jpg`;
    });
    for (const [place, waiting] of callbacks) {
      const at = place % cellsInSheet();
      const bitmap = await createImageBitmap(sheet, (at % columns) * cell,
        Math.floor(at / columns) * cell, cell, cell);
      keep(place, bitmap);
      for (const callback of waiting) callback(bitmap);
    }
    sheet.removeAttribute("src");
  }

  return { want };
})();

// Of those that are far down a page nothing is loaded before they come into sight.
const inSight = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    inSight.unobserve(target);
    Cells.want(Number(target.dataset.place), (bitmap) => target.getContext("2d").drawImage(bitmap, 0, 0));
  }
}, { rootMargin: "300px" });

function thumbnail(place) {
  const { cell } = Data.summary;
  const element = make("canvas", {
    class: "thumb", width: cell, height: cell, "data-place": place,
  });
  inSight.observe(element);
  return element;
}

// The first images of a cluster, which lie together in sheets of their own.
function coverTiles(rank, most = Data.summary.onCover) {
  const cells = cellsInSheet();
  const shown = Math.min(Data.summary.sizes[rank], most);
  return Array.from({ length: shown }, (_, i) => {
    const cell = rank * Data.summary.onCover + i;
    const element = make("span", { class: "thumb" });
    showCell(element, `cover-${Math.floor(cell / cells)}`, cell % cells);
    return element;
  });
}

function baseName(path) {
  return path.slice(path.lastIndexOf("/") + 1) || path;
}

// Of a tile, for those who do not see it.
function spokenName(place) {
  const image = Data.image(place);
  if (!image) return `Image ${place + 1}`;
  const apart = image.outlier ? ", lies apart" : "";
  const class_ = image.className ? `, ${image.className}` : "";
  return `${image.name}${class_}, ${image.distance.toFixed(2)} from the centre${apart}`;
}

// A short row of thumbnails, each a link to its image, with a caption from caption(place).
function strip(places, caption, label) {
  const list = make("ul", { class: "strip", "aria-label": label });
  for (const place of places) {
    const link = make("a", { class: "tile", href: `#/image/${place}` }, thumbnail(place));
    const shown = make("span", { class: "caption" });
    list.append(make("li", {}, link, caption ? shown : null));
    Data.needImages([place]).then(() => {
      link.setAttribute("aria-label", spokenName(place));
      link.title = Data.image(place).name;
      if (caption) shown.textContent = caption(place);
    });
  }
  return list;
}

// A grid that scrolls with the window. Options: open(place), select(places), selected (a Set of
// places), tile(place), and label.
class Grid {
  constructor(places, options) {
    this.places = places;
    this.options = options;
    this.tiles = new Map(); // index -> list item
    this.current = 0;
    this.anchor = 0;
    this.selecting = false;
    this.element = make("ul", { class: "grid", "aria-label": options.label });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.redraw = () => {
      cancelAnimationFrame(this.frame);
      this.frame = requestAnimationFrame(() => this.draw());
    };
    window.addEventListener("scroll", this.redraw, { passive: true });
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.element);
  }

  remove() {
    window.removeEventListener("scroll", this.redraw);
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  layOut() {
    const style = getComputedStyle(document.documentElement);
    const least = parseFloat(style.getPropertyValue("--s"));
    this.gap = parseFloat(style.getPropertyValue("--gap"));
    const width = this.element.clientWidth;
    this.columns = Math.max(1, Math.floor((width + this.gap) / (least + this.gap)));
    // Tiles grow until they fill the line.
    this.side = (width + this.gap) / this.columns - this.gap;
    this.element.style.setProperty("--s", `${this.side}px`);
    const rows = Math.ceil(this.places.length / this.columns);
    this.element.style.height = `${Math.max(0, rows * (this.side + this.gap) - this.gap)}px`;
    for (const [index, item] of this.tiles) this.put(index, item);
    this.draw();
  }

  put(index, item) {
    const pitch = this.side + this.gap;
    item.style.transform = `translate(${(index % this.columns) * pitch}px, ${
      Math.floor(index / this.columns) * pitch}px)`;
  }

  draw() {
    if (!this.columns || !this.element.isConnected) return;
    const pitch = this.side + this.gap;
    const top = this.element.getBoundingClientRect().top;
    const margin = window.innerHeight / 2;
    const firstRow = Math.max(0, Math.floor((-top - margin) / pitch));
    const lastRow = Math.floor((window.innerHeight - top + margin) / pitch);
    const first = firstRow * this.columns;
    const last = Math.min(this.places.length, (lastRow + 1) * this.columns);
    for (const [index, item] of this.tiles) {
      const focused = item.contains(document.activeElement);
      if ((index < first || index >= last) && !focused) {
        item.remove();
        this.tiles.delete(index);
      }
    }
    const missing = [];
    for (let index = first; index < last; index += 1) {
      if (!this.tiles.has(index)) missing.push(index);
    }
    for (const index of missing) this.add(index);
    if (missing.length) this.sort();
    Data.needImages(missing.map((index) => this.places[index])).then(() => this.name(missing));
  }

  add(index) {
    const place = this.places[index];
    const button = make("button", {
      class: "tile",
      tabindex: index === this.current ? "0" : "-1",
      onclick: (event) => this.click(index, event),
      onfocus: () => this.makeCurrent(index),
    }, this.options.tile(place));
    const item = make("li", {
      "aria-setsize": this.places.length, "aria-posinset": index + 1,
    }, button);
    this.tiles.set(index, item);
    this.put(index, item);
    this.mark(index);
    this.element.append(item);
  }

  // Screen readers go by the order in the document.
  sort() {
    const active = document.activeElement;
    const sorted = [...this.tiles].sort(([one], [other]) => one - other);
    let before = null;
    for (const [, item] of sorted) {
      const next = before ? before.nextSibling : this.element.firstChild;
      if (next !== item && !item.contains(active)) this.element.insertBefore(item, next);
      before = item;
    }
  }

  name(indices) {
    for (const index of indices) {
      const button = this.tiles.get(index)?.firstChild;
      if (!button) continue;
      button.setAttribute("aria-label", spokenName(this.places[index]));
      button.title = Data.image(this.places[index])?.name ?? "";
    }
  }

  mark(index) {
    const button = this.tiles.get(index)?.firstChild;
    if (!button || !this.options.selected) return;
    const pressed = this.options.selected.has(this.places[index]);
    if (this.selecting || pressed) button.setAttribute("aria-pressed", pressed);
    else button.removeAttribute("aria-pressed");
  }

  markAll() {
    for (const index of this.tiles.keys()) this.mark(index);
  }

  makeCurrent(index) {
    const before = this.tiles.get(this.current)?.firstChild;
    if (before) before.tabIndex = -1;
    this.current = index;
    const now = this.tiles.get(index)?.firstChild;
    if (now) now.tabIndex = 0;
  }

  click(index, event) {
    const choose = this.options.selected
      && (this.selecting || event.ctrlKey || event.metaKey || event.shiftKey);
    if (!choose) this.options.open(this.places[index]);
    else if (event.shiftKey) this.selectTo(index);
    else this.toggle(index);
  }

  toggle(index) {
    const { selected } = this.options;
    const place = this.places[index];
    if (!selected.delete(place)) selected.add(place);
    this.anchor = index;
    this.options.select();
    this.markAll();
  }

  selectTo(index) {
    const [first, last] = [Math.min(index, this.anchor), Math.max(index, this.anchor)];
    for (let i = first; i <= last; i += 1) this.options.selected.add(this.places[i]);
    this.options.select();
    this.markAll();
  }

  // Brings an image into sight and, if asked, puts the focus there.
  reveal(index, focus) {
    if (!this.columns) this.layOut();
    this.makeCurrent(index);
    const pitch = this.side + this.gap;
    const top = this.element.getBoundingClientRect().top
      + Math.floor(index / this.columns) * pitch;
    const head = 72;
    if (top < head || top + pitch > window.innerHeight - 16) {
      const aim = focus === "near" ? head : window.innerHeight / 3;
      const below = top + pitch > window.innerHeight - 16;
      const shift = focus === "near" && below ? top + pitch - window.innerHeight + 16 : top - aim;
      window.scrollBy(0, shift);
    }
    this.draw();
    if (focus) this.tiles.get(index)?.firstChild.focus({ preventScroll: true });
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.places.length - 1;
    const page = this.columns * Math.max(1, Math.floor(window.innerHeight / 2 / this.side));
    const steps = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns,
      PageDown: page, PageUp: -page, Home: -last, End: last,
    };
    if (event.key in steps) {
      event.preventDefault();
      const aim = this.current + steps[event.key];
      const paging = ["Home", "End", "PageDown", "PageUp"].includes(event.key);
      if (paging) this.reveal(Math.max(0, Math.min(last, aim)), "near");
      else if (aim >= 0 && aim <= last) this.reveal(aim, "near");
    } else if (event.key === "x" && this.options.selected) {
      event.preventDefault();
      this.toggle(this.current);
    }
  }
}
