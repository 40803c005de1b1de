"""The official OpenAI client with an identity's token as its key: one chat, through BASE_URL."""

import os
import sys

import openai

client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["TOKEN"], max_retries=0)
try:
    answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Whom do I ask?"}])
    print("answer:", answer.choices[0].message.content)
except openai.APIStatusError as e:
    print("error:", e.status_code, e)
    sys.exit(1)
