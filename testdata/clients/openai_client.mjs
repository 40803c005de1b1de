// The official OpenAI client for JavaScript against the endpoint in BASE_URL.
import { createRequire } from "node:module";
const OpenAI = createRequire(process.env.MODULES + "/")("openai").OpenAI;
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.TOKEN, maxRetries: 0, timeout: 60000 });
const messages = [{ role: "user", content: "hello" }];
const models = [];
for await (const m of client.models.list()) models.push(m.id);
console.log("models", models.sort().join(" "));
const answer = await client.chat.completions.create({ model: "tiny", messages });
console.log("chat", answer.choices[0].message.content.trim(), answer.choices[0].finish_reason, answer.usage.completion_tokens > 0);
let text = "";
for await (const chunk of await client.chat.completions.create({ model: "tiny", messages, stream: true }))
  text += chunk.choices.map((c) => c.delta.content ?? "").join("");
console.log("stream", text.trim());
const e = await client.embeddings.create({ model: "tiny", input: "a" });
console.log("embeddings", e.data[0].embedding.length > 0);
try {
  await client.chat.completions.create({ model: "other", messages });
  console.log("other model answered");
} catch (err) {
  console.log("other model refused", err.status, err.code);
}
