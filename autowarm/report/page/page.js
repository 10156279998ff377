(() => {
  "use strict";
  const page = document.documentElement;
  const errors = [];
  const fail = (message) => {
    errors.push(message);
    page.dataset.errors = errors.join("\n");
  };
  window.addEventListener("error", (event) => fail(event.message));
  window.addEventListener("unhandledrejection", (event) => fail(String(event.reason)));
  document.addEventListener("securitypolicyviolation", (event) => fail(`blocked: ${event.blockedURI}`));

  const { plots, palettes } = JSON.parse(document.getElementById("plots").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  // a finger that scrolls the page should not zoom a plot, and finds no buttons that show on hovering
  const mouse = window.matchMedia("(hover: hover) and (pointer: fine)").matches;
  const colourKeys = new Set(["color", "fillcolor", "colorscale"]);

  // "@best" is a colour only where a colour is due: a text may begin with an @
  const themed = (value, palette, key) => {
    if (Array.isArray(value)) return value.map((item) => themed(item, palette, key));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, palette, k)]));
    }
    const named = typeof value === "string" && value.startsWith("@") && colourKeys.has(key);
    return named ? palette[value.slice(1)] : value;
  };

  const axis = (given, palette, narrow) => ({
    gridcolor: palette.grid, zerolinecolor: palette.grid, linecolor: palette.muted, tickcolor: palette.muted,
    ticks: "outside", ticklen: 4, nticks: narrow ? 5 : 0, ...given,
    title: { ...given.title, font: { size: 12 } },
  });

  const draw = (theme) => {
    const palette = palettes[theme];
    for (const box of document.querySelectorAll(".plot")) {
      const plot = plots[box.dataset.plot];
      const narrow = box.clientWidth < 520;
      const layout = {
        ...themed(plot.layout, palette),
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: palette.ink, size: narrow ? 11 : 12, family: getComputedStyle(document.body).fontFamily },
        hoverlabel: { bgcolor: palette.paper, bordercolor: palette.muted, font: { color: palette.ink }, align: "left" },
        dragmode: mouse ? "zoom" : false,
        modebar: { bgcolor: "rgba(0,0,0,0)", color: palette.muted, activecolor: palette.ink },
      };
      layout.xaxis = axis(layout.xaxis, palette, narrow);
      layout.yaxis = axis(layout.yaxis, palette, narrow);
      // squares side by side are narrower than their words on a phone
      if (narrow) layout.annotations = layout.annotations.map((a) => ({ ...a, font: { ...a.font, size: 9 } }));
      const config = {
        responsive: true, displaylogo: false, displayModeBar: mouse ? "hover" : false,
        modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      };
      Plotly.react(box, themed(plot.data, palette), layout, config).then(() => {
        box.dataset.drawn = theme;
        page.dataset.drawn = String(document.querySelectorAll(".plot[data-drawn]").length);
      }).catch((reason) => fail(String(reason)));
    }
  };

  const now = () => (dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => draw(now()));
  window.addEventListener("beforeprint", () => draw("light"));
  window.addEventListener("afterprint", () => draw(now()));
  draw(now());
})();
