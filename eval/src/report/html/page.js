// Tables sort by their headings: buttons, so that the keyboard does what the mouse does.
"use strict";
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const value = (row, column) => {
    const cell = row.cells[column];
    const number = parseFloat(cell.dataset.sort ?? cell.textContent.replace(/^[×+<\s]+/, ""));
    return Number.isNaN(number) ? cell.textContent.trim() : number;
  };
  // Numbers before texts, texts by the alphabet.
  const compare = (a, b) => {
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return typeof a === "number" ? a - b : a.localeCompare(b);
  };
  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const sorted = rows.map((row, i) => [value(row, column), i, row]);
      sorted.sort((a, b) => (up ? compare(a[0], b[0]) : compare(b[0], a[0])) || a[1] - b[1]);
      body.append(...sorted.map((entry) => entry[2]));
    });
  });
}
