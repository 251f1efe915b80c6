"use strict";
// The data of a gallery, loaded when they are needed: each file under data/ calls galleryData().

const Data = (() => {
  const waiting = new Map(); // "kind number" -> {resolve, promise}
  const arrived = new Map();
  let summary = null;
  let starts = null;
  let rankOf = null;

  // Numbers in base64, as typed arrays. All machines with a browser are little-endian.
  function unpack(text, Type) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Type(bytes.buffer);
  }

  const readers = {
    summary(value) {
      summary = value;
      starts = new Int32Array(value.sizes.length + 1);
      value.sizes.forEach((size, rank) => { starts[rank + 1] = starts[rank] + size; });
      rankOf = new Int32Array(value.clusters.length);
      value.clusters.forEach((cluster, rank) => { rankOf[cluster] = rank; });
      return value;
    },
    clusters: (value) => value,
    chunk(value) {
      return {
        names: value.names,
        links: value.links,
        distances: unpack(value.distances, Float32Array),
        margins: unpack(value.margins, Float32Array),
        scores: unpack(value.scores, Float32Array),
        outliers: unpack(value.outliers, Uint8Array),
        duplicates: unpack(value.duplicates, Int32Array),
        nearest: unpack(value.nearest, Int32Array),
        nearestDistances: unpack(value.nearestDistances, Float32Array),
        labels: value.labels ? unpack(value.labels, Int32Array) : null,
      };
    },
    map: (value) => unpack(value, Uint16Array),
    order(value) {
      const images = unpack(value, Int32Array);
      // Images that are gone have no place.
      const places = new Int32Array(summary.rows).fill(-1);
      images.forEach((image, place) => { places[image] = place; });
      return { images, places };
    },
    groups(value) {
      const places = unpack(value.duplicates, Int32Array);
      const numbers = unpack(value.numbers, Int32Array);
      const kinds = unpack(value.kinds, Uint8Array);
      const duplicates = [];
      places.forEach((place, i) => {
        if (i === 0 || numbers[i] !== numbers[i - 1]) {
          duplicates.push({ number: numbers[i], places: [], kinds: [] });
        }
        duplicates[duplicates.length - 1].places.push(place);
        duplicates[duplicates.length - 1].kinds.push(kinds[i]);
      });
      return { outliers: unpack(value.outliers, Int32Array), duplicates };
    },
  };

  function receive(kind, number, text) {
    const key = `${kind} ${number}`;
    arrived.set(key, readers[kind](JSON.parse(text)));
    const asked = waiting.get(key);
    if (asked) asked.resolve(arrived.get(key));
  }

  function need(kind, number = 0) {
    const key = `${kind} ${number}`;
    if (arrived.has(key)) return Promise.resolve(arrived.get(key));
    if (waiting.has(key)) return waiting.get(key).promise;
    const asked = {};
    asked.promise = new Promise((resolve, reject) => {
      asked.resolve = resolve;
      const script = document.createElement("script");
      const numbered = kind === "chunk" || kind === "clusters";
      script.src = `data/${kind}${numbered ? `-${number}` : ""}.js`;
      script.onload = () => script.remove();
      script.onerror = () => {
        waiting.delete(key);
        script.remove();
        reject(new Error(`${script.src} is missing: make the gallery anew.`));
      };
      document.head.append(script);
    });
    waiting.set(key, asked);
    return asked.promise;
  }

  const chunkNumber = (place) => Math.floor(place / summary.imagesInChunk);

  // The rank by size of the cluster that an image lies in.
  function rankAt(place) {
    let low = 0;
    let high = starts.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= place) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // Waits until these images are known.
  function needImages(places) {
    const numbers = new Set();
    for (const place of places) if (place >= 0) numbers.add(chunkNumber(place));
    return Promise.all([...numbers].map((number) => need("chunk", number)));
  }

  // What is known of an image, or null as long as its chunk was not loaded.
  function image(place) {
    const chunk = arrived.get(`chunk ${chunkNumber(place)}`);
    if (!chunk) return null;
    const i = place % summary.imagesInChunk;
    const each = chunk.nearest.length / chunk.names.length;
    const label = chunk.labels ? chunk.labels[i] : -1;
    return {
      place,
      name: chunk.names[i],
      href: hrefOf(chunk, i),
      distance: chunk.distances[i],
      margin: chunk.margins[i],
      score: chunk.scores[i],
      outlier: chunk.outliers[i] === 1,
      duplicates: chunk.duplicates[i],
      nearest: [...chunk.nearest.subarray(i * each, (i + 1) * each)].filter((other) => other >= 0),
      nearestDistances: chunk.nearestDistances.subarray(i * each, (i + 1) * each),
      className: label >= 0 ? summary.classes[label] ?? String(label) : "",
    };
  }

  // Where the original is, as a URL relative to the page; empty where images are no files.
  function hrefOf(chunk, i) {
    if (!summary.link) return "";
    const path = chunk.links[i] ?? chunk.names[i].split("/").map(encodeURIComponent).join("/");
    return summary.link + path;
  }

  async function clusterDetails(rank) {
    const chunk = await need("clusters", Math.floor(rank / summary.clustersInChunk));
    return chunk[rank % summary.clustersInChunk];
  }

  return {
    receive, need, needImages, image, clusterDetails, rankAt,
    get summary() { return summary; },
    start: (rank) => starts[rank],
    end: (rank) => starts[rank + 1],
    rank: (cluster) => rankOf[cluster],
  };
})();

function galleryData(kind, number, text) {
  Data.receive(kind, number, text);
}
