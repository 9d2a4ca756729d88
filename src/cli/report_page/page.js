// The page is whole without this: it only helps to find and to sort.
(() => {
  "use strict";
  const by = (id) => document.getElementById(id);
  const table = by("steps");
  const body = table.tBodies[0];
  const rows = [...body.rows];

  const filter = () => {
    const words = by("find").value.toLowerCase();
    const wanted = by("show").value;
    let shown = 0;
    for (const row of rows) {
      const fits = wanted === "all" || row.dataset.state === wanted ||
        (wanted === "ran" && row.dataset.state === "failed") ||
        (wanted === "critical" && row.classList.contains("critical"));
      row.hidden = !fits || !row.textContent.toLowerCase().includes(words);
      shown += row.hidden ? 0 : 1;
    }
    by("shown").textContent = `${shown} of ${rows.length} steps`;
  };
  by("controls").hidden = false;
  by("controls").addEventListener("submit", (event) => event.preventDefault());
  by("find").addEventListener("input", filter);
  by("show").addEventListener("change", filter);
  filter();

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const sort = (heading, column) => {
    // Numbers are of interest from the largest on, but for the steps' own order.
    const before = heading.getAttribute("aria-sort");
    const first = column === 0 || column === 4 ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = before === first ? other : first;
    for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const sorted = [...rows].sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      return sign * (typeof x === "number" ? x - y : x.localeCompare(y));
    });
    body.append(...sorted);
  };
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (heading.classList.contains("chart")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(heading, column));
    heading.append(button);
  });

  // A link to a layer opens it.
  const open = () => {
    const target = by(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
})();
