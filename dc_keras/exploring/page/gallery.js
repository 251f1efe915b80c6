"use strict";
// The views of the page and what leads from one to the other. The part of the address behind "#"
// says what is shown, so that the browser's own buttons work.

const Gallery = (() => {
  const CARDS_AT_ONCE = 48;
  const MOST_FOUND = 500;
  const main = document.getElementById("main");
  const toolbar = document.getElementById("toolbar");
  const dialog = document.getElementById("dialog");
  const query = document.getElementById("query");
  const scrolls = new Map(); // address -> how far it was scrolled
  let leaving = []; // what the present view has to tidy up
  let shown = null;
  let address = "";
  let backTo = -1; // the image that the view before was about
  let selectedGroups = new Set();
  let selectedImages = new Set();
  let grid = null;
  let arrivals = 0;

  const number = (value) => value.toLocaleString("en");
  const heading = (text, level = "h1") => make(level, { tabindex: level === "h1" ? "-1" : null }, text);
  const linkTo = (group) => `#/group/${group.key}`;

  function say(text) {
    document.getElementById("status").textContent = text;
  }

  let toastTimer = 0;
  function toast(text, canUndo = false) {
    const element = document.getElementById("toast");
    element.replaceChildren(make("span", {}, text));
    if (canUndo) element.append(make("button", { onclick: undo }, "Undo"));
    element.hidden = false;
    say(text);
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => { element.hidden = true; }, 6000);
  }

  function undo() {
    if (Labels.undo()) toast("Taken back");
  }

  // ---- Clusters -----------------------------------------------------------------------------

  function badgeOf(group) {
    if (group.rejected) return "rejected";
    if (group.clusters.length > 1) return `${group.clusters.length} merged`;
    if (!group.clusters.length) return "split off";
    return "";
  }

  function coverOf(group) {
    if (group.clusters.length) return coverTiles(Data.rank(group.clusters[0]));
    return [...Labels.placesOf(group)].slice(0, Data.summary.onCover).map(thumbnail);
  }

  // What most of a cluster's labels say, where there are labels.
  function mainClass(group) {
    const { main: classes, classes: names, sizes } = Data.summary;
    if (!classes.length || group.clusters.length !== 1) return null;
    const rank = Data.rank(group.clusters[0]);
    const [label, count] = classes[rank];
    if (!count) return null;
    const part = count / sizes[rank];
    const fill = make("span", { class: "fill" });
    fill.style.width = `${100 * part}%`;
    return make("p", { class: "class-line" },
      make("span", { class: "share", "aria-hidden": "true" }, fill),
      `${Math.round(100 * part)}% ${names[label] || "no label"}`);
  }

  function card(group) {
    const title = Labels.title(group);
    const badge = badgeOf(group);
    const plain = group.clusters.length === 1 && group.name ? `${group.clusters[0]} · ` : "";
    const check = make("input", {
      type: "checkbox", "aria-label": `Select ${title}`,
      onchange: () => selectGroup(group.key, check.checked, element),
    });
    check.checked = selectedGroups.has(group.key);
    const element = make("li", {
      class: `card${group.rejected ? " rejected" : ""}${check.checked ? " selected" : ""}`,
    },
    make("a", { class: "cover", href: linkTo(group), tabindex: "-1", "aria-hidden": "true" },
      ...coverOf(group)),
    make("div", { class: "card-text" },
      make("h2", {}, make("a", { class: "main-link", href: linkTo(group) }, title)),
      check,
      make("p", { class: "muted" }, `${plain}${counted(group.size, "image")}`,
        badge ? make("span", { class: "chip" }, badge) : null)),
    mainClass(group));
    return element;
  }

  function selectGroup(key, on, element) {
    if (on) selectedGroups.add(key);
    else selectedGroups.delete(key);
    element.classList.toggle("selected", on);
    drawToolbar();
  }

  // Adds cards as one scrolls; the button is for those who do not.
  function fillInSteps(list, items, makeItem) {
    let done = 0;
    const more = make("button", { class: "more", onclick: () => add() }, "Show more");
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) add();
    }, { rootMargin: "600px" });
    function add() {
      list.append(...items.slice(done, done + CARDS_AT_ONCE).map(makeItem));
      done += CARDS_AT_ONCE;
      more.hidden = done >= items.length;
      // It looks again only if told so, and a tall window has room for more.
      observer.unobserve(more);
      if (!more.hidden) observer.observe(more);
    }
    leaving.push(() => observer.disconnect());
    add();
    return { more, until: (wanted) => { while (done < wanted && !more.hidden) add(); } };
  }

  const SORTS = {
    size: ["largest first", () => 0],
    small: ["smallest first", (one, other) => one.size - other.size],
    name: ["by name", (one, other) => Labels.title(one).localeCompare(Labels.title(other), "en", { numeric: true })],
    tight: ["tightest first", (one, other) => spread(one) - spread(other)],
    loose: ["loosest first", (one, other) => spread(other) - spread(one)],
  };
  let sort = "size";

  function spread(group) {
    return group.clusters.length ? Data.summary.means[Data.rank(group.clusters[0])] : 0;
  }

  function showClusters() {
    const { images, outliers, duplicates } = Data.summary;
    const choice = make("select", {
      id: "sort", onchange: () => { sort = choice.value; drawCards(); },
    }, ...Object.entries(SORTS).map(([key, [text]]) => make("option", { value: key }, text)));
    choice.value = sort;
    const list = make("ul", { class: "cards" });
    const foot = make("div");
    let filled = null;
    function drawCards() {
      const groups = [...Labels.all];
      if (sort !== "size") groups.sort((one, other) => one.rejected - other.rejected || SORTS[sort][1](one, other));
      list.replaceChildren();
      filled = fillInSteps(list, groups, card);
      foot.replaceChildren(filled.more);
    }
    drawCards();
    list.addEventListener("keydown", moveAmongCards);
    const summary = [
      `${counted(images, "image")} in ${counted(Labels.all.filter((group) => !group.rejected).length, "cluster")}`,
      duplicates ? `${counted(duplicates, "duplicate")}` : null,
      outliers ? `${counted(outliers, "outlier")}` : null,
    ].filter(Boolean).join(" · ");
    main.replaceChildren(
      make("div", { class: "head" }, heading("Clusters"), make("p", { class: "muted" }, summary),
        make("label", { class: "sort" }, "Order ", choice)),
      list, foot);
    return {
      title: "Clusters",
      view: "clusters",
      refresh() {
        // As many as there were, so that nothing jumps.
        const many = list.children.length;
        drawCards();
        filled.until(many);
      },
      restore: (height) => {
        while (document.body.scrollHeight < height && !filled.more.hidden) {
          filled.until(list.children.length + 1);
        }
      },
    };
  }

  // Arrows go from card to card, as they lie on the screen; x selects.
  function moveAmongCards(event) {
    const { target } = event;
    if (!target.matches(".main-link") || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "x") {
      target.closest(".card").querySelector("input").click();
      return;
    }
    const cards = [...target.closest("ul").children];
    const here = cards.indexOf(target.closest(".card"));
    const top = cards[here].offsetTop;
    const columns = Math.max(1, cards.filter((other) => other.offsetTop === cards[0].offsetTop).length);
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
      Home: -here, End: cards.length - 1 - here,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    let aim = here + steps[event.key];
    if (event.key === "ArrowDown" && aim >= cards.length && cards.at(-1).offsetTop > top) {
      aim = cards.length - 1;
    }
    cards[aim]?.querySelector(".main-link").focus();
  }

  // ---- One cluster --------------------------------------------------------------------------

  function bars(labels, total) {
    const { classes } = Data.summary;
    const list = make("ul", { class: "bars" });
    for (const [label, count] of labels.slice(0, 12)) {
      const fill = make("span", { class: "fill" });
      fill.style.width = `${(100 * count) / total}%`;
      list.append(make("li", {}, make("span", { class: "bar-name" }, classes[label] || "no label"),
        make("span", { class: "share", "aria-hidden": "true" }, fill),
        make("span", { class: "muted" }, `${number(count)} · ${Math.round((100 * count) / total)}%`)));
    }
    if (labels.length > 12) list.append(make("li", { class: "muted" }, `and ${counted(labels.length - 12, "other class", "other classes")}`));
    return list;
  }

  function smallCard(group) {
    return make("li", { class: "small-card" }, make("a", { href: linkTo(group) },
      make("span", { class: "cover four", "aria-hidden": "true" }, ...coverOf(group).slice(0, 4)),
      make("span", {}, Labels.title(group)),
      make("span", { class: "muted" }, counted(group.size, "image"))));
  }

  function nameField(group) {
    const input = make("input", {
      id: "name", class: "name-field", maxlength: "200", value: group.name, autocomplete: "off",
      placeholder: Labels.title(group), "aria-label": `Name of ${Labels.title(group)}`,
    });
    const form = make("form", { class: "name-form" }, input, make("button", { class: "primary" }, "Name"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const before = group.name;
      const now = Labels.find(group.key) ?? group;
      Labels.rename(now, input.value);
      if (now.name !== before) toast(now.name ? `Named “${now.name}”` : "Name taken away", true);
      // The field was made anew; the heading says the new name.
      main.querySelector("h1").focus({ preventScroll: true });
    });
    return form;
  }

  async function showGroup(key) {
    const group = Labels.find(key);
    if (!group) return showMissing("There is no such cluster here.");
    if (group.key !== key) {
      history.replaceState(null, "", linkTo(group));
      address = location.hash;
    }
    const ranks = group.clusters.map(Data.rank);
    const details = await Promise.all(ranks.map(Data.clusterDetails));
    const actions = make("div", { class: "actions" });
    const wide = matchMedia("(min-width: 901px)").matches;
    const side = make("details", { open: wide }, make("summary", {}, "More about this cluster"));
    const aside = make("aside", { class: "side" }, side);
    const title = heading("");
    const about = make("p", { class: "muted" });
    let places = Labels.placesOf(group);
    const gridHeading = heading("", "h2");
    const pick = make("button", { class: "quiet", onclick: () => setSelecting(!grid.selecting) }, "Select images");
    function setSelecting(on) {
      grid.selecting = on;
      pick.setAttribute("aria-pressed", on);
      grid.markAll();
      say(on ? "Choose images; Escape ends it" : "");
    }
    grid = new Grid(places, {
      label: "Images, the nearest to the centre first",
      tile: thumbnailInSheet,
      open: (place) => go(`#/image/${place}`),
      select: drawToolbar,
      selected: selectedImages,
    });
    leaving.push(() => { grid.remove(); grid = null; });

    function drawHead() {
      const now = Labels.find(key) ?? group;
      title.textContent = Labels.title(now);
      const mean = ranks.length === 1 ? ` · ${Data.summary.means[ranks[0]].toFixed(2)} from the centre on average` : "";
      const from = ranks.length > 1 ? ` · from clusters ${now.clusters.join(", ")}` : "";
      const own = ranks.length === 1 && now.name ? ` · cluster ${now.clusters[0]}` : "";
      about.textContent = `${counted(now.size, "image")}${own}${from}${mean}`;
      const badge = badgeOf(now);
      if (badge) about.append(make("span", { class: "chip" }, badge));
      actions.replaceChildren(nameField(now),
        make("button", { class: "quiet", onclick: () => mergeDialog([now]) }, "Merge with …"),
        make("button", {
          class: "quiet",
          onclick: () => {
            Labels.reject([now], !now.rejected);
            toast(now.rejected ? "Rejected" : "Not rejected any more", true);
          },
        }, now.rejected ? "Take back" : "Reject"));
      if (!Labels.isPlain(now) && (now.clusters.length !== 1 || now.images.length)) {
        actions.append(make("button", {
          class: "quiet",
          onclick: () => {
            const back = now.clusters.length ? `#/group/c${now.clusters[0]}` : "#/";
            Labels.dissolve(now);
            go(back);
            toast("Taken apart again", true);
          },
        }, now.clusters.length ? "Take apart" : "Put back"));
      }
      gridHeading.textContent = now.clusters.length ? "All images, nearest to the centre first" : "Images";
    }
    drawHead();

    const concat = (name) => details.flatMap((detail) => detail[name]);
    const section = (text, ...content) => side.append(make("section", {}, heading(text, "h2"), ...content));
    const labels = mergedLabels(details);
    if (labels.length) {
      section("Labels", bars(labels, labels.reduce((sum, [, count]) => sum + count, 0)));
    }
    if (concat("borderline").length > 1 && Data.summary.clusters.length > 1) {
      section("Borderline", make("p", { class: "muted hint" }, "Almost as near to another centre"),
        strip(concat("borderline").slice(0, 12), null, "Borderline images"));
    }
    if (concat("outliers").length) {
      const all = details.reduce((sum, detail) => sum + detail.outlierCount, 0);
      section("Outliers", make("p", { class: "muted hint" }, `${counted(all, "image")} far from all others`),
        strip(concat("outliers").slice(0, 12), null, "Outliers"));
    }
    const near = [...new Set(concat("neighbours").map((cluster) => Labels.find(`c${cluster}`)))]
      .filter((other) => other && other.key !== group.key).slice(0, 6);
    if (near.length) section("Nearest clusters", make("ul", { class: "small-cards" }, ...near.map(smallCard)));

    const around = Labels.all.findIndex((other) => other.key === group.key);
    main.replaceChildren(
      make("nav", { class: "crumbs", "aria-label": "Where this is" }, make("a", { href: "#/" }, "Clusters"),
        stepLink(Labels.all[around - 1], "Previous", "‹"), stepLink(Labels.all[around + 1], "Next", "›")),
      make("div", { class: "head" }, title, about), actions,
      make("div", { class: side.children.length > 1 ? "two" : "" }, side.children.length > 1 ? aside : null,
        make("section", { class: "all-images" }, make("div", { class: "grid-head" }, gridHeading, pick), grid.element)));
    return {
      title: Labels.title(group),
      view: "clusters",
      group: () => Labels.find(key) ?? group,
      up: "#/",
      setSelecting,
      refresh() {
        const now = Labels.find(key);
        const same = now && now.clusters.length === group.clusters.length
          && now.clusters.every((cluster) => group.clusters.includes(cluster));
        if (!same) {
          if (now) route();
          else go("#/");
          return;
        }
        drawHead();
        const fresh = Labels.placesOf(now);
        if (fresh.length !== places.length) route();
        places = fresh;
      },
      restore() {
        const index = backTo >= 0 ? places.indexOf(backTo) : -1;
        if (index >= 0) grid.reveal(index, "center");
        return index >= 0;
      },
    };
  }

  function stepLink(group, text, sign) {
    if (!group) return null;
    return make("a", {
      class: "step", href: linkTo(group), "aria-label": `${text} cluster: ${Labels.title(group)}`,
      title: `${text}: ${Labels.title(group)}`, "data-step": text,
    }, sign);
  }

  function mergedLabels(details) {
    const total = new Map();
    for (const detail of details) {
      for (const [label, count] of detail.labels ?? []) {
        total.set(label, (total.get(label) ?? 0) + count);
      }
    }
    return [...total].sort((one, other) => other[1] - one[1]);
  }

  // ---- One image ----------------------------------------------------------------------------

  // The original, or its thumbnail where the browser cannot show it.
  function picture(place) {
    const image = Data.image(place);
    const frame = make("div", { class: "picture" });
    const small = thumbnail(place);
    small.setAttribute("role", "img");
    small.setAttribute("aria-label", image.name);
    frame.append(small);
    if (image.href) {
      const original = make("img", { alt: image.name, src: image.href, decoding: "async" });
      original.onload = () => {
        if (original.naturalWidth < 200) original.classList.add("tiny");
        frame.replaceChildren(original);
      };
    }
    return frame;
  }

  const row = (name, ...value) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value));

  function facts(image) {
    const group = Labels.ofPlace(image.place);
    const list = make("dl", { class: "facts" },
      row("Cluster", make("a", { href: linkTo(group) }, Labels.title(group))),
      image.className ? row("Label", image.className) : null,
      row("From the centre", image.distance.toFixed(3)),
      Data.summary.clusters.length > 1
        ? row("To the second centre", `${image.margin.toFixed(3)} farther`) : null,
      row("Apart from others", `${image.score.toFixed(2)} times the usual${image.outlier ? ", an outlier" : ""}`));
    if (image.duplicates >= 0) {
      list.append(row("Duplicates", make("a", { href: `#/duplicates/${image.duplicates}` }, `group ${image.duplicates + 1}`)));
    }
    if (image.href) {
      list.append(row("Original", make("a", { href: image.href, target: "_blank", rel: "noopener" }, "open the file")));
    }
    return list;
  }

  async function showImage(text) {
    const place = Number(text);
    if (!Number.isInteger(place) || place < 0 || place >= Data.summary.images) {
      return showMissing("There is no such image here.");
    }
    await Data.needImages([place]);
    const image = Data.image(place);
    await Data.needImages(image.nearest);
    const group = Labels.ofPlace(place);
    const other = make("figure", { class: "side-by-side" });
    let compared = -1;
    function compare(next) {
      if (next === compared) return;
      compared = next;
      const found = Data.image(next);
      const i = image.nearest.indexOf(next);
      other.replaceChildren(picture(next), make("figcaption", {},
        make("a", { class: "file-name", href: `#/image/${next}` }, found.name),
        make("span", { class: "muted" }, `${image.nearestDistances[i].toFixed(3)} away · ${Labels.title(Labels.ofPlace(next))}`)));
      for (const link of near.querySelectorAll("a.tile")) {
        link.classList.toggle("shown", link.getAttribute("href") === `#/image/${next}`);
      }
    }
    const near = strip(image.nearest, (next) => (
      image.nearestDistances[image.nearest.indexOf(next)].toFixed(2)), "Nearest images");
    near.classList.add("nearest");
    for (const name of ["pointerover", "focusin"]) {
      near.addEventListener(name, (event) => {
        const link = event.target.closest("a.tile");
        if (link) compare(Number(link.getAttribute("href").split("/").pop()));
      });
    }
    near.addEventListener("keydown", (event) => moveInStrip(near, event));
    const places = Labels.placesOf(group);
    const here = places.indexOf(place);
    const step = (to, text, sign) => (places[to] === undefined ? null : make("a", {
      class: "step", href: `#/image/${places[to]}`, "aria-label": `${text} image`, "data-step": text,
    }, sign));
    const slash = image.name.lastIndexOf("/") + 1;
    main.replaceChildren(
      make("nav", { class: "crumbs", "aria-label": "Where this is" },
        make("a", { href: "#/" }, "Clusters"), make("a", { href: linkTo(group) }, Labels.title(group)),
        step(here - 1, "Previous", "‹"), step(here + 1, "Next", "›"),
        make("span", { class: "muted" }, `${number(here + 1)} of ${number(places.length)}`)),
      make("div", { class: "head" }, make("h1", { class: "file-name", tabindex: "-1" },
        slash ? make("span", { class: "folder" }, image.name.slice(0, slash)) : null, image.name.slice(slash))),
      make("div", { class: image.href ? "pair" : "pair small" },
        make("figure", { class: "side-by-side" }, picture(place), make("figcaption", {}, "This image")), other),
      image.nearest.length ? make("section", {}, heading(`The ${image.nearest.length} nearest`, "h2"), near) : null,
      make("section", {}, heading("What is known", "h2"), facts(image)));
    if (image.nearest.length) compare(image.nearest[0]);
    else other.remove();
    backTo = place;
    return { title: image.name, view: "clusters", up: linkTo(group), arrows: true };
  }

  function moveInStrip(list, event) {
    const links = [...list.querySelectorAll("a")];
    const here = links.indexOf(document.activeElement);
    const aim = { ArrowLeft: here - 1, ArrowRight: here + 1 }[event.key];
    if (here < 0 || aim === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    links[aim]?.focus();
  }

  // ---- Map ----------------------------------------------------------------------------------

  async function showMap() {
    const positions = await Data.need("map");
    const canvas = make("canvas", {
      tabindex: "0", role: "img", "aria-describedby": "map-about",
      "aria-label": `Map of ${counted(Data.summary.images, "image")}; the list beside it has the same clusters`,
    });
    const tip = make("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    const map = new ClusterMap(canvas, positions, {
      open: (place) => go(`#/image/${place}`),
      hover: (place, x, y) => showTip(tip, canvas, place, x, y),
    });
    leaving.push(() => map.remove());
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => map.redraw();
    scheme.addEventListener("change", redraw);
    leaving.push(() => scheme.removeEventListener("change", redraw));
    const list = make("ul", { class: "legend", "aria-label": "Clusters on the map" });
    const { more } = fillInSteps(list, Data.summary.clusters.map((_, rank) => rank), (rank) => {
      const group = Labels.find(`c${Data.summary.clusters[rank]}`);
      const dot = make("span", { class: "dot" });
      dot.style.background = clusterColour(rank);
      const link = make("a", { href: linkTo(group) }, dot, make("span", {}, Labels.title(group)),
        make("span", { class: "muted" }, number(Data.summary.sizes[rank])));
      for (const name of ["pointerenter", "focus"]) link.addEventListener(name, () => map.highlight(rank));
      for (const name of ["pointerleave", "blur"]) link.addEventListener(name, () => map.highlight(-1));
      return make("li", {}, link);
    });
    const button = (text, label, act) => make("button", { class: "quiet", "aria-label": label, onclick: act }, text);
    main.replaceChildren(
      make("div", { class: "head" }, heading("Map"),
        make("p", { class: "muted", id: "map-about" }, "Images that look alike to the network lie together. Scroll or + to zoom, drag or arrows to move, click to open.")),
      make("div", { class: "map" },
        make("div", { class: "canvas-frame" }, canvas, tip, make("div", { class: "zoom" },
          button("+", "Zoom in", () => map.zoom(1.6)), button("−", "Zoom out", () => map.zoom(1 / 1.6)),
          button("⤢", "Show all", () => map.fit()))),
        make("div", { class: "legend-frame" }, list, more)));
    return { title: "Map", view: "map", up: "#/" };
  }

  function showTip(tip, canvas, place, x, y) {
    tip.hidden = place < 0;
    if (place < 0) {
      tip.removeAttribute("data-place");
      return;
    }
    if (tip.dataset.place !== String(place)) {
      tip.dataset.place = place;
      const name = make("span", { class: "tip-name" });
      tip.replaceChildren(thumbnail(place), make("div", {}, name,
        make("span", { class: "muted" }, Labels.title(Labels.ofPlace(place)))));
      Data.needImages([place]).then(() => { name.textContent = baseName(Data.image(place).name); });
    }
    const right = x > canvas.clientWidth / 2;
    tip.style.left = right ? "auto" : `${x + 16}px`;
    tip.style.right = right ? `${canvas.clientWidth - x + 16}px` : "auto";
    tip.style.top = `${Math.max(8, Math.min(y - 20, canvas.clientHeight - 110))}px`;
  }

  // ---- Duplicates and outliers --------------------------------------------------------------

  async function showDuplicates(wanted) {
    const { duplicates } = await Data.need("groups");
    const { kinds } = Data.summary;
    const list = make("div", { class: "duplicate-groups" });
    const filled = fillInSteps(list, duplicates, (group) => {
      const strongest = kinds[Math.max(...group.kinds)];
      const links = strip(group.places, (place) => baseName(Data.image(place).name), `Duplicates, group ${group.number + 1}`);
      const many = group.places.length > 3;
      return make("section", { id: `duplicates-${group.number}`, class: many ? "many" : null },
        heading(`${counted(group.places.length, "image")}`, "h2"),
        make("span", { class: "chip" }, strongest === "near" ? "almost the same" : strongest), links);
    });
    const { duplicates: images } = Data.summary;
    main.replaceChildren(
      make("div", { class: "head" }, heading("Duplicates"), make("p", { class: "muted" }, duplicates.length
        ? `${counted(images, "image")} in ${counted(duplicates.length, "group")}. Images that are only alike are in one cluster, not here.`
        : "No two images are the same, or almost the same.")),
      list, duplicates.length ? filled.more : "");
    const at = duplicates.findIndex((group) => String(group.number) === wanted);
    if (at >= 0) {
      filled.until(at + 1);
      document.getElementById(`duplicates-${wanted}`).scrollIntoView({ block: "center" });
      document.getElementById(`duplicates-${wanted}`).classList.add("wanted");
    }
    return { title: "Duplicates", view: "duplicates", up: "#/", scrolled: at >= 0 };
  }

  async function showOutliers() {
    const { outliers } = await Data.need("groups");
    grid = new Grid(outliers, {
      label: "Outliers, the farthest first", tile: thumbnail, open: (place) => go(`#/image/${place}`),
      select: drawToolbar, selected: selectedImages,
    });
    leaving.push(() => { grid.remove(); grid = null; });
    main.replaceChildren(
      make("div", { class: "head" }, heading("Outliers"), make("p", { class: "muted" }, outliers.length
        ? `${counted(outliers.length, "image")} far from all others, the farthest first`
        : "No image lies far from all others.")),
      grid.element);
    return { title: "Outliers", view: "outliers", up: "#/", restore: () => revealBack(outliers) };
  }

  function revealBack(places) {
    const index = backTo >= 0 ? places.indexOf(backTo) : -1;
    if (index >= 0) grid.reveal(index, "center");
    return index >= 0;
  }

  // ---- Search -------------------------------------------------------------------------------

  async function showSearch(encoded) {
    const text = decodeURIComponent(encoded ?? "");
    const wanted = text.toLocaleLowerCase().normalize("NFC");
    const mine = arrivals;
    const holds = (name) => name.toLocaleLowerCase().normalize("NFC").includes(wanted);
    if (query.value !== text) query.value = text;
    const about = make("p", { class: "muted" }, "Searching");
    const groups = make("ul", { class: "small-cards wide" });
    const files = make("ul", { class: "found" });
    groups.append(...Labels.all.filter((group) => wanted && holds(Labels.title(group))).slice(0, 24).map(smallCard));
    main.replaceChildren(make("div", { class: "head" }, heading(`Search: ${text}`), about), groups, files);
    const result = { title: `Search: ${text}`, view: "", up: "#/", keepFocus: true };
    if (!wanted) {
      about.textContent = "Type a part of a file name.";
      return result;
    }
    find(wanted, holds, mine, files).then((found) => {
      if (mine !== arrivals) return;
      const clusters = groups.children.length ? `, ${counted(groups.children.length, "cluster")}` : "";
      const rest = found > MOST_FOUND ? `, the first ${MOST_FOUND} of them here` : "";
      about.textContent = `${counted(found, "file")}${clusters}${rest}`;
      say(about.textContent);
    });
    return result;
  }

  // Looks through all names, a chunk at a time, and lists those that fit.
  async function find(wanted, holds, mine, list) {
    const { images, imagesInChunk } = Data.summary;
    let found = 0;
    for (let first = 0; first < images && mine === arrivals; first += imagesInChunk) {
      const chunk = await Data.need("chunk", first / imagesInChunk);
      const items = [];
      chunk.names.forEach((name, i) => {
        if (!holds(name)) return;
        found += 1;
        if (found <= MOST_FOUND) items.push(foundItem(first + i, name));
      });
      list.append(...items);
    }
    return found;
  }

  function foundItem(place, name) {
    return make("li", {}, make("a", { href: `#/image/${place}` }, thumbnail(place),
      make("span", { class: "file-name" }, name), make("span", { class: "muted" }, Labels.title(Labels.ofPlace(place)))));
  }

  // ---- Labels -------------------------------------------------------------------------------

  function download() {
    const text = `${JSON.stringify(Labels.toJSON(), null, 1)}\n`;
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    make("a", { href: url, download: "labels.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    toast("labels.json was downloaded");
  }

  async function upload(file) {
    try {
      if (file.size > 64e6) throw new Error("This file is too large for labels.");
      let value = null;
      try {
        value = JSON.parse(await file.text());
      } catch (error) {
        throw new Error("This file is no JSON.");
      }
      await Labels.load(value);
      toast("The labels were loaded", true);
    } catch (error) {
      toast(error.message);
    }
  }

  function showChanges() {
    const list = make("ul", { class: "changes" });
    const input = make("input", { type: "file", accept: ".json,application/json", id: "labels-file", class: "visually-hidden", tabindex: "-1" });
    input.addEventListener("change", () => {
      if (input.files.length) upload(input.files[0]);
      input.value = "";
    });
    const button = (text, act, kind = "quiet") => make("button", { class: kind, onclick: act }, text);
    const undoButton = button("Undo", undo);
    const clearButton = button("Clear all", () => { Labels.clear(); toast("All labels are cleared", true); });
    const save = button("Download labels.json", download, "primary");
    const empty = make("p", { class: "empty" },
      "Nothing yet. Name a cluster on its page, or select clusters to merge or reject them, or images to split them off.");
    function draw() {
      const groups = Labels.decided;
      list.replaceChildren(...groups.map((group) => {
        const what = [
          badgeOf(group),
          group.clusters.length && group.images.length ? `${counted(group.images.length, "image")} moved in` : "",
        ].filter(Boolean).join(", ");
        return make("li", {}, make("span", { class: "cover four", "aria-hidden": "true" }, ...coverOf(group).slice(0, 4)),
          make("a", { href: linkTo(group) }, Labels.title(group)),
          make("span", { class: "muted" }, `${counted(group.size, "image")}${what ? ` · ${what}` : ""}`),
          make("button", {
            class: "quiet", "aria-label": `Take back: ${Labels.title(group)}`,
            onclick: () => { Labels.dissolve(group); toast("Taken back", true); },
          }, "Take back"));
      }));
      empty.hidden = groups.length > 0;
      undoButton.disabled = !Labels.canUndo;
      clearButton.disabled = !groups.length;
    }
    draw();
    main.replaceChildren(
      make("div", { class: "head" }, heading("Labels"),
        make("p", { class: "muted" }, "Kept in this browser. Download them to use them with the run.")),
      make("div", { class: "actions" }, save, button("Load a file", () => input.click()), input, undoButton, clearButton),
      make("pre", { class: "command" }, "dc-keras apply labels.json --run_dir=RUN"),
      empty, list);
    return { title: "Labels", view: "changes", up: "#/", refresh: draw };
  }

  function showMissing(text) {
    main.replaceChildren(heading("Not found"), make("p", {}, text), make("a", { href: "#/" }, "All clusters"));
    return { title: "Not found", view: "", up: "#/" };
  }

  // ---- Selection ----------------------------------------------------------------------------

  function clearSelection() {
    selectedGroups.clear();
    selectedImages.clear();
    drawToolbar();
    for (const box of main.querySelectorAll(".card input:checked")) {
      box.checked = false;
      box.closest(".card").classList.remove("selected");
    }
    if (grid) grid.markAll();
  }

  function drawToolbar() {
    const groups = [...selectedGroups].map(Labels.find).filter(Boolean);
    const images = selectedImages.size;
    toolbar.hidden = !groups.length && !images;
    if (toolbar.hidden) return;
    const button = (text, act, kind = "quiet") => make("button", { class: kind, onclick: act }, text);
    if (images) {
      toolbar.replaceChildren(make("span", {}, `${counted(images, "image")} selected`),
        button("Split off", splitOff, "primary"), button("Clear", clearSelection));
      return;
    }
    const rejected = groups.every((group) => group.rejected);
    toolbar.replaceChildren(make("span", {}, `${counted(groups.length, "cluster")} selected`),
      button(groups.length > 1 ? "Merge" : "Merge with …", () => mergeDialog(groups), "primary"),
      button(rejected ? "Take back" : "Reject", () => {
        Labels.reject(groups, !rejected);
        clearSelection();
        toast(rejected ? "Not rejected any more" : `${counted(groups.length, "cluster")} rejected`, true);
      }),
      button("Clear", clearSelection));
  }

  async function splitOff() {
    const places = [...selectedImages].sort((one, other) => one - other);
    selectedImages.clear();
    const group = await Labels.split(places);
    drawToolbar();
    go(linkTo(group));
    toast(`${counted(places.length, "image")} split off`, true);
  }

  function mergeDialog(groups) {
    const name = make("input", { id: "merge-name", maxlength: "200", autocomplete: "off", value: groups.find((group) => group.name)?.name ?? "" });
    const others = Labels.all.filter((group) => !groups.some((one) => one.key === group.key));
    const list = make("select", { id: "merge-with" },
      ...others.map((group) => make("option", { value: group.key }, `${Labels.title(group)} (${number(group.size)})`)));
    const form = make("form", { method: "dialog" },
      make("h2", { id: "dialog-title" }, groups.length > 1 ? `Merge ${groups.length} clusters` : `Merge ${Labels.title(groups[0])}`),
      groups.length > 1
        ? make("p", { class: "muted" }, groups.map(Labels.title).join(", "))
        : make("label", {}, "With ", list),
      make("label", {}, "Name ", name),
      make("div", { class: "actions" }, make("button", { class: "primary", value: "merge" }, "Merge"),
        make("button", { class: "quiet", type: "button", onclick: () => dialog.close() }, "Cancel")));
    form.addEventListener("submit", () => {
      const joined = groups.length > 1 ? groups : [...groups, Labels.find(list.value)];
      const total = joined.filter(Boolean).map((group) => Labels.find(group.key));
      if (total.length < 2) return;
      const target = Labels.merge(total, name.value);
      clearSelection();
      if (groups.length === 1) go(linkTo(target));
      toast(`Merged into “${Labels.title(target)}”`, true);
    });
    openDialog(form);
  }

  function openDialog(content) {
    dialog.replaceChildren(content);
    dialog.showModal();
  }

  const KEYS = [
    ["/", "search"], ["arrows", "from cluster to cluster, from image to image"], ["Enter", "open"],
    ["Escape", "back up, or end a selection"], ["x", "select; with Shift and a click, up to there"],
    ["n", "name the cluster"], ["Ctrl Z", "take the last label back"], ["+ − 0", "zoom the map"], ["?", "this list"],
  ];

  function help() {
    openDialog(make("form", { method: "dialog" }, make("h2", { id: "dialog-title" }, "Keys"),
      make("dl", { class: "keys" }, ...KEYS.map(([key, what]) => make("div", {},
        make("dt", {}, ...key.split(" ").map((part) => make("kbd", {}, part))), make("dd", {}, what)))),
      make("div", { class: "actions" }, make("button", { class: "primary" }, "Close"))));
  }

  // ---- From view to view --------------------------------------------------------------------

  const views = {
    "": showClusters, group: showGroup, image: showImage, map: showMap, duplicates: showDuplicates,
    outliers: showOutliers, search: showSearch, changes: showChanges,
  };

  function go(hash) {
    if (location.hash === hash) route();
    else location.hash = hash;
  }

  async function route() {
    arrivals += 1;
    const mine = arrivals;
    const again = address === location.hash;
    scrolls.set(address, { top: window.scrollY, height: document.body.scrollHeight });
    address = location.hash;
    for (const tidy of leaving.splice(0)) tidy();
    selectedImages.clear();
    if (!again) selectedGroups.clear();
    const [name, argument] = address.replace(/^#\/?/, "").split("/");
    let next = null;
    try {
      next = await (views[name] ?? (() => showMissing("There is no such page here.")))(argument);
    } catch (error) {
      next = showMissing(error.message);
    }
    if (mine !== arrivals) return;
    shown = next;
    if (name !== "search" && document.activeElement !== query) query.value = "";
    document.title = `${shown.title} · ${Data.summary.title}`;
    for (const link of document.querySelectorAll(".bar nav a")) {
      if (link.dataset.view === shown.view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    drawToolbar();
    restore();
    if (name !== "image") backTo = -1;
    document.body.dataset.ready = address || "#/";
  }

  function restore() {
    const before = scrolls.get(address);
    if (shown.scrolled) return;
    const focused = shown.restore?.(before?.height ?? 0);
    if (focused === true) return;
    window.scrollTo(0, shown.view === "clusters" && !shown.arrows && before ? before.top : 0);
    if (!shown.keepFocus && !main.contains(document.activeElement) && document.activeElement !== query) {
      main.querySelector("h1")?.focus({ preventScroll: true });
    }
  }

  function onKey(event) {
    const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (dialog.open) return;
    if (event.key === "Escape") {
      if (typing) event.target.blur();
      else if (selectedImages.size || selectedGroups.size) clearSelection();
      else if (grid?.selecting) shown.setSelecting(false);
      else if (shown?.up) go(shown.up);
      return;
    }
    if (typing) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") {
      event.preventDefault();
      undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowLeft: "Previous", ArrowRight: "Next" };
    const step = main.querySelector(`[data-step=${steps[event.key]}]`);
    const acts = {
      "/": () => { query.focus(); query.select(); },
      "?": help,
      n: () => document.getElementById("name")?.focus(),
    };
    if (acts[event.key]) {
      event.preventDefault();
      acts[event.key]();
    } else if (step && !event.defaultPrevented && shown?.arrows) {
      event.preventDefault();
      location.replace(step.getAttribute("href"));
    } else if (event.key === "ArrowDown" && shown?.view === "clusters" && event.target.matches("h1, body, main")) {
      const first = main.querySelector(".cards .main-link, .grid [tabindex='0']");
      if (first) {
        event.preventDefault();
        first.focus();
      }
    }
  }

  function drawBadge() {
    const badge = document.getElementById("badge");
    badge.textContent = Labels.decided.length;
    badge.hidden = !Labels.decided.length;
  }

  async function start() {
    if (!Data.summary) {
      main.replaceChildren(heading("Nothing to show"),
        make("p", {}, "The folder data beside this page is missing. Copy the whole folder of the gallery."));
      return;
    }
    document.getElementById("title").textContent = Data.summary.title;
    document.body.dataset.images = Data.summary.images;
    await Labels.start();
    drawBadge();
    Labels.listen(() => {
      drawBadge();
      shown?.refresh?.();
    });
    window.addEventListener("hashchange", route);
    document.addEventListener("keydown", onKey);
    document.getElementById("help-button").addEventListener("click", help);
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault();
      main.focus();
    });
    document.getElementById("search").addEventListener("submit", (event) => {
      event.preventDefault();
      search();
      main.querySelector(".found a, .small-cards a")?.focus();
    });
    let timer = 0;
    query.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(search, 200);
    });
    history.scrollRestoration = "manual";
    await route();
  }

  function search() {
    const text = query.value.trim();
    const hash = text ? `#/search/${encodeURIComponent(text)}` : "#/";
    if (hash === location.hash) return;
    // One entry in the history for all that is typed.
    if (location.hash.startsWith("#/search")) location.replace(hash);
    else location.hash = hash;
  }

  return { start };
})();
