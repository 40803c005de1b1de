// What OpenAI's JavaScript client makes of a stream of the responses API: the text that its pieces give, and the one at the end.
import { createRequire } from "node:module";
const OpenAI = createRequire(process.env.MODULES + "/")("openai");

const c = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.TOKEN, maxRetries: 0 });
let text = "", numbers = [];
for await (const e of await c.responses.create({ model: "tiny", input: "x", store: false, stream: true })) {
  numbers.push(e.sequence_number);
  if (e.type === "response.output_text.delta") text += e.delta;
  else if (e.type === "response.output_text.done") console.log("done", e.text);
  else if (e.type === "response.completed") console.log("completed", e.response.output[0].content[0].text, e.response.usage.output_tokens);
}
console.log("pieces", text);
console.log("in order", numbers.every((n, i) => i === 0 || n > numbers[i - 1]));
const stream = c.responses.stream({ model: "tiny", input: "x", store: false });
console.log("final", (await stream.finalResponse()).output_text);
