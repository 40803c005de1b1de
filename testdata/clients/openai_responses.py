"""What OpenAI's Python client makes of a stream of the responses API: the text that its pieces give, and the one at the end."""
import os
from openai import OpenAI

c = OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["TOKEN"], max_retries=0)
text, numbers = "", []
for e in c.responses.create(model="tiny", input="x", store=False, stream=True):
    numbers.append(e.sequence_number)
    if e.type == "response.output_text.delta":
        text += e.delta
    elif e.type == "response.output_text.done":
        print("done", e.text)
    elif e.type == "response.completed":
        print("completed", e.response.output_text, e.response.usage.output_tokens)
print("pieces", text)
print("in order", numbers == sorted(set(numbers)))
with c.responses.stream(model="tiny", input="x", store=False) as s:
    print("final", s.get_final_response().output_text)
