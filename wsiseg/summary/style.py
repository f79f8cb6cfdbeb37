"""How the summary page looks and what a click on a heading does: nothing comes from elsewhere."""

from __future__ import annotations

STYLE = """
:root{--ink:#1c1f24;--grey:#6b7078;--rule:#dfe2e6;--red:#b3261e;--amber:#8a5a00;--green:#1b6e3c}
*{box-sizing:border-box}
body{font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
color:var(--ink);background:#fff;margin:0 auto;max-width:1500px;padding:28px 32px 60px}
h1{font-size:26px;font-weight:600;margin:0 0 2px;overflow-wrap:anywhere}
h2{font-size:19px;font-weight:600;margin:38px 0 8px}
h3{font-size:15px;font-weight:600;margin:22px 0 8px}
p{margin:6px 0;max-width:75em}
.grey{color:var(--grey)}
.facts{display:flex;flex-wrap:wrap;gap:10px 44px;margin:20px 0 0;padding:14px 0;
border-top:1px solid var(--rule);border-bottom:1px solid var(--rule)}
.facts b{display:block;font-size:24px;font-weight:600}
.bad{color:var(--red)}.odd{color:var(--amber)}.good{color:var(--green)}
table{border-collapse:collapse}
th,td{text-align:left;vertical-align:top;padding:5px 12px 5px 0;border-bottom:1px solid var(--rule)}
th{font-weight:600;white-space:nowrap;vertical-align:bottom}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.name{overflow-wrap:anywhere;min-width:11em}
td.text{overflow-wrap:anywhere;min-width:16em;max-width:60em}
td.short{white-space:nowrap}
td.thumb{width:64px}
td.thumb img{max-width:56px;max-height:56px}
.wide{overflow-x:auto}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(330px,100%),1fr));gap:14px}
.card{display:flex;gap:14px;border:1px solid var(--rule);border-radius:6px;padding:12px;
break-inside:avoid}
.card .pic{flex:0 0 110px}
.card img{max-width:110px;max-height:110px}
.card div{min-width:0}
.card ul{margin:4px 0 0;padding-left:1.1em}
.card a,.card b{overflow-wrap:anywhere}
a{color:#114f9c}
.strips{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(440px,100%),1fr));
gap:4px 36px}
.strip{break-inside:avoid}
svg{display:block;width:100%;height:auto}
dt{font-weight:600;margin-top:8px}dd{margin:0 0 0 1.2em;max-width:70em}
@media print{@page{size:landscape;margin:12mm}body{padding:0;max-width:none;font-size:9.5px}
.wide{overflow:visible}th,td{padding:2px 6px 2px 0}td.text{min-width:9em}td.name{min-width:8em}
td.short{white-space:normal}td.thumb img{max-width:28px;max-height:28px}
thead{display:table-header-group}tr{break-inside:avoid}a{color:inherit;text-decoration:none}}
"""

SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentNode, table = head.closest("table"), body = table.tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  const value = row => row.cells[head.cellIndex].dataset.v;
  const rows = [...body.rows].sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = head.className === "n" ? x - y : x.localeCompare(y, undefined, {numeric: true});
    return up ? order : -order;
  });
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows);
};
"""
