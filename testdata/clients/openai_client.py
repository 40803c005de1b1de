"""The official OpenAI client, and LangChain on top of it, against the endpoint in BASE_URL."""
import os, sys
from openai import OpenAI, PermissionDeniedError
from langchain_openai import ChatOpenAI

base, token = os.environ["BASE_URL"], os.environ["TOKEN"]
client = OpenAI(base_url=base, api_key=token, max_retries=0, timeout=60)
print("models", sorted(m.id for m in client.models.list()))
say = [{"role": "user", "content": "hello"}]
answer = client.chat.completions.create(model="tiny", messages=say)
print("chat", answer.choices[0].message.content.strip(), answer.choices[0].finish_reason, answer.usage.completion_tokens > 0)
text, usage = "", None
for chunk in client.chat.completions.create(model="tiny", messages=say, stream=True, stream_options={"include_usage": True}):
    text += "".join(c.delta.content or "" for c in chunk.choices)
    usage = chunk.usage or usage
print("stream", text.strip(), usage.completion_tokens > 0)
plain = list(client.chat.completions.create(model="tiny", messages=say, stream=True))
print("usage unasked", any(c.usage for c in plain))
print("completion", client.completions.create(model="tiny", prompt="hello").choices[0].text.strip())
base64 = client.embeddings.create(model="tiny", input=["a", "b"])
floats = client.embeddings.create(model="tiny", input=["a", "b"], encoding_format="float")
print("embeddings", len(base64.data), base64.data[0].embedding == floats.data[0].embedding)
chain = ChatOpenAI(model="tiny", base_url=base, api_key=token, max_retries=0)
print("langchain", chain.invoke("hello").content.strip())
print("langchain stream", "".join(c.content for c in chain.stream("hello")).strip())
try:
    client.chat.completions.create(model="other", messages=say)
    print("other model", "answered")
except PermissionDeniedError as e:
    print("other model", "refused", e.code)
