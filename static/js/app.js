/* Progressive enhancement: every page works without this file. No eval, no inline handlers, nothing stored but one
   choice of this browser (single-key shortcuts on or off). */
(() => {
  "use strict";
  const $ = (s, el = document) => el.querySelector(s);
  const $$ = (s, el = document) => [...el.querySelectorAll(s)];
  const on = (type, fn, opt) => document.addEventListener(type, fn, opt);
  const say = text => { const live = $("#live"); if (live) { live.textContent = ""; requestAnimationFrame(() => { live.textContent = text; }); } };

  /* --- times: the clock in the person's zone, relative times kept fresh ------------------------------------- */
  const spell = s => {
    const m = Math.floor(s / 60), d = Math.floor(m / 1440), h = Math.floor(m / 60) % 24;
    if (d) return `${d} d${h && d < 10 ? ` ${h} h` : ""}`;
    return Math.floor(m / 60) ? `${h} h${m % 60 ? ` ${m % 60} m` : ""}` : `${m} m`;
  };
  const tick = () => {
    const now = Date.now();
    $$("[data-clock]").forEach(el => {
      const part = new Intl.DateTimeFormat("en-GB", { timeZone: el.dataset.clock, hour: "2-digit", minute: "2-digit" });
      const zone = el.textContent.split(/\s/).pop();
      el.textContent = `${part.format(now)}\u00a0${zone}`;
    });
    $$("time[data-rel]").forEach(el => {
      const s = (now - Date.parse(el.dateTime)) / 1000;
      if (s > 60 && s < 7 * 86400) el.textContent = `${spell(s)} ago`;
    });
  };
  setInterval(tick, 20000);

  /* --- dialogs: a link with data-dialog opens its page's form in place --------------------------------------- */
  const dialog = () => $("#dialog");
  const open = (url, wide) => {
    const d = dialog();
    d.classList.toggle("wide", !!wide);
    return htmx.ajax("GET", url, { target: "#dialog-body", swap: "innerHTML" }).then(() => {
      if (!$("#dialog-body").children.length) { location.assign(url); return; }
      if (!d.open) d.showModal();
      (($("[autofocus]", d)) || $("input:not([type=hidden]),select,textarea,button", $(".body", d) || d) || d).focus();
    });
  };
  on("click", e => {
    const link = e.target.closest("a[data-dialog]");
    if (link && !e.defaultPrevented && !(e.ctrlKey || e.metaKey || e.shiftKey || e.button) && window.htmx) {
      e.preventDefault(); open(link.href, link.dataset.dialog === "wide");
    }
    const close = e.target.closest("[data-close]");
    if (close) { const d = close.closest("dialog"); if (d) { e.preventDefault(); d.close(); } }
    if (e.target.closest("[data-dismiss]")) e.target.closest(".toast,.alert").remove();
    if (e.target instanceof HTMLDialogElement) e.target.close();
    const help = e.target.closest("[data-help]");
    if (help) { e.preventDefault(); $("#keys").showModal(); }
    const printer = e.target.closest("[data-print]");
    if (printer) print();
  });
  on("close", e => { if (e.target.id === "dialog") $("#dialog-body").replaceChildren(); }, true);

  /* --- menus close when one looks elsewhere ------------------------------------------------------------------ */
  on("click", e => $$("details.menu[open]").forEach(m => { if (!m.contains(e.target)) m.open = false; }));
  on("toggle", e => {
    if (e.target.matches?.("details.menu") && e.target.open) $("input:not([type=hidden])", e.target)?.focus();
  }, true);

  /* --- copy, auto-submit -------------------------------------------------------------------------------------- */
  on("click", async e => {
    const button = e.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    say(`Copied ${button.dataset.copy}`);
    button.classList.add("d-good"); setTimeout(() => button.classList.remove("d-good"), 1200);
  });
  on("change", e => { if (e.target.matches("[data-submit]")) e.target.form.requestSubmit(); });

  /* --- selection: the page, or the whole filter when it says so ---------------------------------------------- */
  const sync = form => {
    const boxes = $$("tbody input[name=pick]", form), picked = boxes.filter(b => b.checked);
    const head = $("[data-all]", form), bar = $(".bulk", form), whole = $("input[name=whole]", form);
    if (picked.length < boxes.length && whole) whole.checked = false;
    boxes.forEach(b => b.closest("tr").toggleAttribute("aria-selected", false));
    picked.forEach(b => b.closest("tr").setAttribute("aria-selected", "true"));
    if (head) { head.checked = picked.length > 0 && picked.length === boxes.length; head.indeterminate = picked.length > 0 && !head.checked; }
    if (!bar) return;
    const all = whole && whole.checked, n = all ? Number(whole.dataset.count) : picked.length;
    const count = $("[data-n]", bar); if (count) count.textContent = n;
    const offer = $("[data-offer]", bar); if (offer) offer.hidden = picked.length < boxes.length;
    const sums = {};
    picked.forEach(b => { if (b.dataset.amount) sums[b.dataset.currency] = (sums[b.dataset.currency] || 0) + Number(b.dataset.amount); });
    const sum = $("[data-sum]", bar);
    if (sum) sum.textContent = all ? whole.dataset.sum || "" : Object.entries(sums).map(([c, v]) =>
      new Intl.NumberFormat(document.documentElement.lang, { style: "currency", currency: c }).format(v)).join(" + ");
  };
  let last = null;
  on("change", e => {
    const form = e.target.closest("form[data-bulk]");
    if (!form) return;
    if (e.target.matches("[data-all]")) $$("tbody input[name=pick]", form).forEach(b => { b.checked = e.target.checked; });
    sync(form);
  });
  on("click", e => {
    const box = e.target.closest("input[name=pick]");
    if (box) {
      const boxes = $$("input[name=pick]", box.form);
      if (e.shiftKey && last && boxes.includes(last)) {
        const [a, b] = [boxes.indexOf(last), boxes.indexOf(box)].sort((x, y) => x - y);
        boxes.slice(a, b + 1).forEach(x => { x.checked = box.checked; });
        sync(box.form);
      }
      last = box;
    }
    const clear = e.target.closest("[data-clear]");
    if (clear) { e.preventDefault(); $$("input[name=pick],input[name=whole]", clear.form).forEach(b => { b.checked = false; }); sync(clear.form); }
  });
  /* a bulk button opens its confirmation in the dialog: the form's own fields travel as the query */
  on("submit", e => {
    const form = e.target, by = e.submitter;
    if (!form.matches("form[data-bulk]") || !by?.matches("[data-dialog]") || !window.htmx) return;
    e.preventDefault();
    const data = new URLSearchParams(new FormData(form, by));
    open(`${by.getAttribute("formaction") || form.action}?${data}`, by.dataset.dialog === "wide");
  });

  /* --- keyboard ------------------------------------------------------------------------------------------------ */
  const KEY = "opsboard.keys";
  const enabled = () => localStorage.getItem(KEY) !== "off";
  const rows = () => $$("table.data[data-keys] tbody tr[data-row]");
  const current = () => $("tr.cur[data-row]");
  const move = step => {
    const all = rows(); if (!all.length) return;
    const at = all.indexOf(current());
    const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step))];
    all.forEach(r => r.classList.toggle("cur", r === next));
    const link = $("a[data-open]", next) || $("a", next);
    link.focus({ preventScroll: true }); next.scrollIntoView({ block: "nearest" });
  };
  const press = key => {
    const scope = $("dialog[open]") || document;
    const el = $$(`[data-key~="${CSS.escape(key)}"]`, scope).find(x => x.offsetParent !== null && !x.disabled);
    if (el) { el.matches("input,select,textarea") ? el.focus() : el.click(); return true; }
    return false;
  };
  let prefix = 0;
  on("keydown", e => {
    if (e.defaultPrevented || e.isComposing) return;
    const t = e.target, typing = t.isContentEditable || t.matches("input:not([type=checkbox],[type=radio]),select,textarea");
    if (e.key === "Escape" && !$("dialog[open]")) {
      const menu = $("details.menu[open]");
      if (menu) { menu.open = false; $("summary", menu).focus(); return; }
      if (typing && t.type === "search") { t.blur(); return; }
      if (!typing) { $$("form[data-bulk]").forEach(f => { $$("input[name=pick],input[name=whole]", f).forEach(b => { b.checked = false; }); sync(f); }); }
      return;
    }
    if ((e.ctrlKey || e.metaKey) && e.key === "k") { e.preventDefault(); $("#q")?.focus(); $("#q")?.select(); return; }
    if ((e.ctrlKey || e.metaKey) && e.key === "Enter" && t.form) { e.preventDefault(); t.form.requestSubmit(); return; }
    if (typing || e.ctrlKey || e.metaKey || e.altKey || !enabled() || $("dialog[open]")) return;
    const fresh = Date.now() - prefix < 1200; prefix = 0;
    if (fresh) { const link = $(`[data-go="${CSS.escape(e.key)}"]`); if (link) { e.preventDefault(); link.click(); } return; }
    const acts = {
      g: () => { prefix = Date.now(); }, "/": () => { $("#q")?.focus(); $("#q")?.select(); }, "?": () => $("#keys")?.showModal(),
      j: () => move(1), k: () => move(-1),
      x: () => { const box = $("input[name=pick]", current() || document.createElement("i")); if (box) { box.checked = !box.checked; sync(box.form); last = box; } },
      Enter: () => { if (t.matches("a,button,summary,input")) return false; const l = current() && $("a[data-open]", current()); if (l) l.click(); else return false; }
    };
    if (e.key === "ArrowDown" && current()?.contains(t)) { e.preventDefault(); move(1); return; }
    if (e.key === "ArrowUp" && current()?.contains(t)) { e.preventDefault(); move(-1); return; }
    const act = acts[e.key];
    if (act ? act() !== false : press(e.key)) e.preventDefault();
  });
  on("focusin", e => {
    const row = e.target.closest("table.data[data-keys] tr[data-row]");
    if (row) rows().forEach(r => r.classList.toggle("cur", r === row));
  });
  on("change", e => { if (e.target.id === "keys-on") localStorage.setItem(KEY, e.target.checked ? "on" : "off"); });

  /* --- htmx: sign-in pages never land in a fragment; failures are said where one looks ------------------------- */
  on("htmx:beforeSwap", e => {
    const xhr = e.detail.xhr, path = new URL(xhr.responseURL || location.href).pathname;
    if (/^\/account\/(login|reauthenticate|second-factor)/.test(path)) { e.detail.shouldSwap = false; location.assign(`${path}?next=${encodeURIComponent(location.pathname + location.search)}`); }
  });
  const fail = text => {
    const box = $("dialog[open] [data-alerts]") || $("#alerts"), tpl = $("#alert-template");
    if (!box || !tpl) return;
    const node = tpl.content.cloneNode(true);
    $("[data-text]", node).textContent = text;
    box.replaceChildren(node);
    box.scrollIntoView({ block: "nearest" });
  };
  on("htmx:responseError", e => {
    const s = e.detail.xhr.status, words = {
      403: "This is not permitted, or the page was open too long. Reload it and try again.",
      404: "This is not there any more. Somebody may have changed it: reload the page.",
      429: "Too many requests. Wait a moment and try again."
    };
    fail(words[s] || `The server could not do this (${s}). Nothing was changed by this click; try again in a moment.`);
  });
  on("htmx:sendError", () => fail("No connection to the server. Nothing was lost; try again when you are back online."));
  on("htmx:timeout", () => fail("The server did not answer in time. Try again in a moment."));
  on("htmx:afterSwap", e => { tick(); $$("form[data-bulk]").forEach(sync); document.dispatchEvent(new CustomEvent("ops:drawn", { detail: e.detail.target })); });
  on("htmx:beforeRequest", e => e.detail.target?.setAttribute("aria-busy", "true"));
  on("htmx:afterRequest", e => e.detail.target?.removeAttribute("aria-busy"));

  const start = () => {
    const box = $("#keys-on"); if (box) box.checked = enabled();
    $$("form[data-bulk]").forEach(sync);
    $$(".toast[data-fade]").forEach(t => setTimeout(() => t.remove(), 7000));
    tick();
  };
  document.readyState === "loading" ? on("DOMContentLoaded", start) : start();
})();
