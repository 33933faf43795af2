// Tables that are sorted by a click on a column, and matrices of coloured cells.

// Matrices with more columns show their values only on hover and by the keyboard.
const MOST_COLUMNS_WITH_VALUES = 14;

function createTable(table) {
  const body = create("tbody"), isNumber = table.columns.map((_, column) => isNumeric(table.rows, column));
  const heads = table.columns.map((name, column) => {
    const button = create("button", { type: "button" }, name);
    const head = create("th", { scope: "col", class: isNumber[column] ? "number" : null }, button);
    button.addEventListener("click", () => sort(column));
    return head;
  });
  const rows = table.rows.map(row => [row, create("tr", {}, ...row.map((value, column) =>
    create("td", { class: isNumber[column] ? "number" : null }, format(value))))]);
  const show = order => body.replaceChildren(...order.map(pair => pair[1]));
  function sort(column) {
    const falls = heads[column].getAttribute("aria-sort") === (isNumber[column] ? "descending" : "ascending") ? isNumber[column] : !isNumber[column];
    heads.forEach(head => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", falls ? "ascending" : "descending");
    show([...rows].sort((a, b) => compareCells(a[0][column], b[0][column], falls ? 1 : -1)));
  }
  show(rows);
  return create("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": table.title },
    create("table", { class: "sorted" }, create("thead", {}, create("tr", {}, ...heads)), body));
}

function isNumeric(rows, column) {
  return rows.some(row => typeof row[column] === "number") && rows.every(row => row[column] === null || typeof row[column] === "number");
}

/** Compares two cells; empty ones are last in both directions. */
function compareCells(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return (a - b) * direction;
  return String(a).localeCompare(String(b), "en", { numeric: true }) * direction;
}

function createMatrix(matrix) {
  const hasText = matrix.columns.length <= MOST_COLUMNS_WITH_VALUES;
  const isSquare = matrix.rows.length === matrix.columns.length && matrix.rows.every((name, row) => name === matrix.columns[row]);
  const head = create("tr", {}, create("td"), ...matrix.columns.map(name => create("th", { scope: "col" }, create("span", { title: name }, name))));
  const rows = matrix.values.map((values, row) => {
    const total = values.reduce((sum, value) => sum + Math.abs(value ?? 0), 0);
    const cells = values.map((value, column) => createCell(matrix, row, column, value, total, hasText, isSquare));
    return create("tr", {}, create("th", { scope: "row", title: matrix.rows[row] }, matrix.rows[row]), ...cells);
  });
  const table = create("table", { class: "matrix" }, create("thead", {}, head), create("tbody", {}, ...rows));
  makeMatrixInteractive(table);
  const labels = create("p", { class: "note" }, `Rows: ${matrix.row_label}. Columns: ${matrix.column_label}. Colours: share of the row.`);
  return create("div", {}, labels, create("div", { class: "scroll" }, table));
}

function createCell(matrix, row, column, value, total, hasText, isSquare) {
  const share = total && value ? Math.abs(value) / total : 0, text = format(value);
  const percent = total && value !== null ? `\n${(100 * share).toFixed(1)} % of the row` : "";
  const description = `${matrix.row_label}: ${matrix.rows[row]}\n${matrix.column_label}: ${matrix.columns[column]}\n${text}${percent}`;
  const color = isSquare && row === column ? "34,150,94" : isSquare ? "222,82,60" : "47,126,216";
  const cell = create("td", { style: `background:rgba(${color},${(share ? 0.08 + 0.82 * Math.sqrt(share) : 0).toFixed(2)})`,
    tabindex: row === 0 && column === 0 ? 0 : -1, "aria-label": description.replaceAll("\n", ", ") }, hasText ? text : "");
  cell.description = description;
  return cell;
}

/** Shows the values of cells on hover, and lets arrow keys move between cells. */
function makeMatrixInteractive(table) {
  const show = cell => {
    const box = cell.getBoundingClientRect();
    showTip(cell.description, box.left + box.width / 2, box.bottom);
  };
  table.addEventListener("pointerover", event => event.target.description ? show(event.target) : hideTip());
  table.addEventListener("pointerleave", hideTip);
  table.addEventListener("focusin", event => event.target.description && show(event.target));
  table.addEventListener("focusout", hideTip);
  table.addEventListener("keydown", event => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key], cell = event.target;
    const next = move && table.tBodies[0].rows[cell.parentElement.sectionRowIndex + move[0]]?.cells[cell.cellIndex + move[1]];
    if (!next?.description) return;
    event.preventDefault();
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}
