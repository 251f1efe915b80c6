"use strict";
// What the user decided: names, merged, split off and rejected clusters. Kept in the browser's
// storage under the gallery's id, and in a file that `dc-keras apply` reads.
//
// A group has clusters, images that were moved into it from others, a name, and may be rejected.
// Those that nobody touched are made from the clusters. Images have the numbers of the
// manifest; those that are gone keep what was decided about them.

const Labels = (() => {
  const FORMAT = "dc_keras labels";
  const LONGEST_NAME = 200;
  const MOST_UNDONE = 100;
  const listeners = [];
  let explicit = [];
  let undone = [];
  let all = [];
  let byCluster = [];
  let byImage = new Map();
  let order = null; // loaded as soon as images are moved

  const storageKey = () => `dc_keras gallery ${Data.summary.gallery}`;

  function keyOf(group) {
    return group.clusters.length ? `c${group.clusters[0]}` : `i${group.images[0]}`;
  }

  function copy(groups) {
    return groups.map((group) => ({
      name: group.name,
      clusters: [...group.clusters],
      images: [...group.images],
      rejected: group.rejected,
    }));
  }

  function isPlain(group) {
    const alone = group.clusters.length === 1 && !group.images.length;
    return alone && !group.name && !group.rejected;
  }

  // Makes the groups that are shown from the decisions.
  function derive() {
    const { clusters, sizes } = Data.summary;
    const bySize = (one, other) => Data.rank(one) - Data.rank(other);
    byCluster = new Array(clusters.length).fill(null);
    byImage = new Map();
    all = [];
    explicit = explicit.filter((group) => group.clusters.length || group.images.length);
    for (const group of explicit) {
      group.clusters.sort(bySize);
      for (const cluster of group.clusters) byCluster[cluster] = group;
      for (const image of group.images) byImage.set(image, group);
      all.push(group);
    }
    clusters.forEach((cluster) => {
      if (byCluster[cluster]) return;
      const group = { name: "", clusters: [cluster], images: [], rejected: false };
      byCluster[cluster] = group;
      all.push(group);
    });
    for (const group of all) {
      group.key = keyOf(group);
      group.size = group.images.filter(isThere).length;
      for (const cluster of group.clusters) group.size += sizes[Data.rank(cluster)];
    }
    for (const image of byImage.keys()) {
      if (isThere(image)) byCluster[clusterOfImage(image)].size -= 1;
    }
    all.sort((one, other) => one.rejected - other.rejected || other.size - one.size
      || firstPlace(one) - firstPlace(other));
  }

  const isThere = (image) => order.places[image] >= 0;
  const clusterOfImage = (image) => Data.summary.clusters[Data.rankAt(order.places[image])];

  function firstPlace(group) {
    if (group.clusters.length) return Data.start(Data.rank(group.clusters[0]));
    return order.places[group.images[0]];
  }

  function save() {
    try {
      localStorage.setItem(storageKey(), JSON.stringify(toJSON()));
    } catch (error) {
      // Storage may be full or turned off: the file is still there.
    }
  }

  function changed() {
    derive();
    save();
    for (const listener of listeners) listener();
  }

  // Changes the decisions so that they can be taken back.
  function change(edit) {
    undone.push(copy(explicit));
    if (undone.length > MOST_UNDONE) undone.shift();
    edit();
    explicit = explicit.filter((group) => !isPlain(group));
    changed();
  }

  function undo() {
    if (!undone.length) return false;
    explicit = undone.pop();
    changed();
    return true;
  }

  // The group itself, among those that are kept.
  function kept(group) {
    if (!explicit.includes(group)) explicit.push(group);
    return group;
  }

  // One line without what is not seen, but for what joins the parts of emoji.
  function cleanName(text) {
    const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
    const line = text.replace(unseen, (letter) => ("\u200c\u200d".includes(letter) ? letter : " "));
    return [...line.trim()].slice(0, LONGEST_NAME).join("").trim();
  }

  function rename(group, text) {
    const name = cleanName(text);
    if (name === group.name) return;
    change(() => { kept(group).name = name; });
  }

  // Joins groups into the largest of them.
  function merge(groups, name) {
    const sorted = [...groups].sort((one, other) => other.size - one.size);
    const target = sorted.find((group) => group.clusters.length) ?? sorted[0];
    change(() => {
      kept(target);
      for (const other of sorted) {
        if (other === target) continue;
        target.clusters.push(...other.clusters);
        target.images.push(...other.images);
        explicit = explicit.filter((group) => group !== other);
      }
      target.name = cleanName(name);
      target.rejected = false;
      // Those that came home need not be moved any more.
      const own = new Set(target.clusters);
      if (target.images.length) {
        target.images = target.images.filter((image) => (
          !isThere(image) || !own.has(clusterOfImage(image))));
      }
    });
    return target;
  }

  // Moves images into a group of their own.
  async function split(places) {
    order = await Data.need("order");
    const images = places.map((place) => order.images[place]);
    const group = { name: "", clusters: [], images, rejected: false };
    change(() => {
      const moved = new Set(images);
      for (const other of explicit) {
        other.images = other.images.filter((image) => !moved.has(image));
      }
      explicit.push(group);
    });
    return group;
  }

  function reject(groups, rejected) {
    change(() => { for (const group of groups) kept(group).rejected = rejected; });
  }

  // Takes back all that was decided about a group.
  function dissolve(group) {
    change(() => { explicit = explicit.filter((other) => other !== group); });
  }

  function clear() {
    change(() => { explicit = []; });
  }

  function toJSON() {
    return {
      format: FORMAT,
      version: 1,
      gallery: Data.summary.gallery,
      images: Data.summary.rows,
      clusters: Data.summary.clusters.length,
      groups: copy(explicit),
    };
  }

  const isCount = (value, below) => Number.isInteger(value) && value >= 0 && value < below;

  // The groups of a file; throws an Error that says what is wrong with it.
  function checked(value) {
    const { gallery, rows, clusters } = Data.summary;
    if (value === null || typeof value !== "object" || value.format !== FORMAT) {
      throw new Error("This is no file of labels from a gallery.");
    }
    if (value.version !== 1) throw new Error("These labels are of another version.");
    if (value.gallery !== gallery) {
      throw new Error("These labels belong to another gallery: its clusters are not those here.");
    }
    if (!Array.isArray(value.groups)) throw new Error("The labels are damaged: no groups.");
    const seen = [new Set(), new Set()];
    return value.groups.map((group) => {
      const lists = [group?.clusters, group?.images];
      const right = lists.every((list, i) => Array.isArray(list) && list.every((item) => {
        const fresh = isCount(item, i ? rows : clusters.length) && !seen[i].has(item);
        seen[i].add(item);
        return fresh;
      }));
      if (!right || typeof group.name !== "string" || typeof group.rejected !== "boolean") {
        throw new Error("The labels are damaged: a group that cannot be.");
      }
      const { name, rejected } = group;
      return { name: cleanName(name), clusters: [...lists[0]], images: [...lists[1]], rejected };
    });
  }

  async function load(value) {
    const groups = checked(value);
    if (groups.some((group) => group.images.length)) order = await Data.need("order");
    change(() => { explicit = groups; });
  }

  // Names that the run had when the gallery was made. Clusters of one name had been merged.
  function namesOfRun() {
    const groups = new Map();
    Data.summary.names.forEach((name, rank) => {
      if (!name) return;
      const group = groups.get(name) ?? { name, clusters: [], images: [], rejected: false };
      group.clusters.push(Data.summary.clusters[rank]);
      groups.set(name, group);
    });
    return [...groups.values()].map((group) => (
      group.name === "rejected" ? { ...group, name: "", rejected: true } : group
    ));
  }

  async function start() {
    explicit = namesOfRun();
    try {
      const stored = localStorage.getItem(storageKey());
      if (stored) explicit = checked(JSON.parse(stored));
    } catch (error) {
      // What cannot be read was never ours.
    }
    if (explicit.some((group) => group.images.length)) order = await Data.need("order");
    undone = [];
    derive();
  }

  function find(key) {
    const number = Number(key.slice(1));
    if (key[0] === "c") return byCluster[number] ?? null;
    return byImage.get(number) ?? null;
  }

  function ofPlace(place) {
    const moved = byImage.size ? byImage.get(order.images[place]) : null;
    return moved ?? byCluster[Data.summary.clusters[Data.rankAt(place)]];
  }

  // The images of a group by their places, in the order in which they are shown.
  function placesOf(group) {
    const places = group.images.filter(isThere).map((image) => order.places[image]);
    for (const cluster of group.clusters) {
      const rank = Data.rank(cluster);
      for (let place = Data.start(rank); place < Data.end(rank); place += 1) {
        if (!byImage.size || !byImage.has(order.images[place])) places.push(place);
      }
    }
    return Int32Array.from(places);
  }

  function title(group) {
    if (group.name) return group.name;
    if (group.clusters.length) return `Cluster ${group.clusters[0]}`;
    return `Split off, ${group.size} ${group.size === 1 ? "image" : "images"}`;
  }

  return {
    start, rename, merge, split, reject, dissolve, clear, undo, load, toJSON, find, ofPlace,
    placesOf, title, isPlain, firstPlace,
    get all() { return all; },
    get decided() { return explicit; },
    get canUndo() { return undone.length > 0; },
    listen: (listener) => listeners.push(listener),
  };
})();
