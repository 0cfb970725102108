// Everything that can be done, once: its key, the words on its button, and what it does. `?` shows this table.

import { switchTheme } from "./dom.js";
import { describe, propose, reject } from "./proposals.js";
import { grown, shrunk, union, without } from "./runs.js";

const SIZES = [1, 2, 3, 5, 8, 12, 20, 32, 50, 80, 120, 200, 320];

/** [key, words, group, what it does]; the last is called with the page. */
export const COMMANDS = [
  ["n", "New phrase", "phrase", (page) => page.focus("new-phrase")],
  ["t", "Edit text", "phrase", (page) => page.session.phrase && page.focus(`text-${page.session.phrase}`)],
  ["0", "Nothing here…", "phrase", (page) => page.askNothing()],
  ["Enter", "Accept", "phrase", (page) => page.tools.close() || page.accept()],
  ["*", "Ask the model", "phrase", propose],
  ["N", "Phrases by the model", "phrase", describe],
  ["R", "Reject proposal", "phrase", reject],
  ["w", "Needs work", "phrase", (page) => page.status("needs work")],
  ["j", "Next phrase", "phrase", (page) => page.turn("phrases", "phrase", 1)],
  ["k", "Phrase before", "phrase", (page) => page.turn("phrases", "phrase", -1)],
  ["Backspace", "Remove phrase", "phrase", (page) => page.removePhrase()],
  ["m", "New mask", "mask", (page) => page.choose("mask", null)],
  [".", "Next mask", "mask", (page) => page.turn("masks", "mask", 1)],
  [",", "Mask before", "mask", (page) => page.turn("masks", "mask", -1)],
  ["l", "Link mask to phrase", "mask", (page) => page.link(page.session.mask)],
  ["{", "Shrink by a pixel", "mask", (page) => page.reshape(shrunk)],
  ["}", "Grow by a pixel", "mask", (page) => page.reshape(grown)],
  ["+", "Join with next mask", "mask", (page) => page.combine(union)],
  ["\\", "Cut next mask off", "mask", (page) => page.combine(without)],
  ["i", "Ignore region", "mask", (page) => page.ignore()],
  ["Delete", "Remove mask", "mask", (page) => page.session.mask && page.tools.remove(page.session.mask)],
  ["D", "New dialogue", "dialogue", (page) => page.dialogues.add()],
  ["T", "New turn", "dialogue", (page) => page.dialogues.addTurn()],
  ["Q", "Question", "dialogue", (page) => page.dialogues.write("question")],
  ["A", "Answer", "dialogue", (page) => page.dialogues.write("answer")],
  ["J", "Next turn", "dialogue", (page) => page.dialogues.step(1)],
  ["K", "Turn before", "dialogue", (page) => page.dialogues.step(-1)],
  ["<", "Turn up", "dialogue", (page) => page.dialogues.move(-1)],
  [">", "Turn down", "dialogue", (page) => page.dialogues.move(1)],
  ["X", "Remove turn", "dialogue", (page) => page.dialogues.removeTurn()],
  ["Y", "Accept dialogue", "dialogue", (page) => page.dialogues.status("accepted")],
  ["W", "Dialogue needs work", "dialogue", (page) => page.dialogues.status("needs work")],
  ["b", "Brush", "tool", (page) => page.tool("brush", false)],
  ["e", "Eraser", "tool", (page) => page.tool("brush", true)],
  ["p", "Polygon", "tool", (page) => page.tool("polygon")],
  ["r", "Box", "tool", (page) => page.tool("box")],
  ["f", "Fill", "tool", (page) => page.tool("fill")],
  ["c", "Thing in a box", "tool", (page) => page.tool("in box")],
  ["S", "Superpixel", "tool", (page) => page.tool("alike")],
  ["s", "Scissors", "tool", (page) => page.tool("edge")],
  ["G", "Points (SAM)", "tool", (page) => page.tool("points", false)],
  [";", "Other proposal", "tool", (page) => page.tools.other()],
  ["h", "Hand", "tool", (page) => page.tool("hand")],
  ["x", "Cut off", "tool", (page) => page.tool(page.tools.name, !page.tools.cut)],
  ["[", "Smaller brush", "tool", (page) => page.resize(SIZES.findLast((size) => size < page.tools.size))],
  ["]", "Larger brush", "tool", (page) => page.resize(SIZES.find((size) => size > page.tools.size))],
  ["Escape", "Give up the drawing", "tool", (page) => page.tools.cancel()],
  ["=", "Zoom in", "view", (page) => page.stage.zoom(1.25)],
  ["-", "Zoom out", "view", (page) => page.stage.zoom(0.8)],
  ["v", "Whole picture", "view", (page) => page.stage.fit()],
  ["V", "One to one", "view", (page) => page.stage.oneToOne()],
  ["P", "Patches", "view", (page) => page.patches()],
  ["M", "Model beside mine", "view", (page) => page.compare.toggle(page)],
  ["o", "Hide masks", "view", (page) => page.hide()],
  ["z", "Undo", "page", (page) => page.session.undo()],
  ["y", "Redo", "page", (page) => page.session.redo()],
  ["d", "Next picture", "page", (page) => page.go(page.session.index + 1)],
  ["a", "Picture before", "page", (page) => page.go(page.session.index - 1)],
  ["u", "Next unfinished", "page", (page) => page.nextUnfinished()],
  ["g", "List of pictures", "page", (page) => page.showList()],
  ["E", "Write the patch", "page", (page) => page.patch()],
  ["q", "Dark or light", "page", () => switchTheme()],
  ["?", "Keys", "page", (page) => page.help()],
];

/** The id of a command's button, by its words. */
export const buttonId = (words) => `do-${words.toLowerCase().replace(/[^a-z]+/g, "-")}`;

export const OTHER_KEYS = [
  ["1 … 9", "link the mask of that number to the phrase, or take it off"], ["arrows", "move the cross hairs; Shift: ten times as far; Alt: a pixel"],
  ["Alt+1 … 9", "while an answer is written: put in the masks of that phrase, for the words that are chosen"],
  ["Space", "put the pen down at the cross hairs, and lift it"], ["wheel", "zoom; pull with the middle or right button, or two fingers"],
];

