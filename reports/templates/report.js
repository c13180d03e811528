"use strict";
for (const pre of document.querySelectorAll("pre.command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", () => {
    const text = pre.querySelector("code").textContent.trimEnd();
    const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
    const select = () => { getSelection().selectAllChildren(pre.querySelector("code")); };
    navigator.clipboard ? navigator.clipboard.writeText(text).then(done, select) : select();
  });
  const around = document.createElement("div");
  around.className = "copy";
  pre.replaceWith(around);
  around.append(pre, button);
}
function reveal() {
  const found = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let place = found; place; place = place.parentElement) {
    if (place.tagName === "DETAILS") place.open = true;
  }
  if (found) {
    const own = found.querySelector("details");
    if (own && found.classList.contains("step")) own.open = true;
    found.scrollIntoView({ block: "center" });
  }
}
addEventListener("hashchange", reveal);
reveal();
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details.steps, details.consequences")) each.open = true;
});
