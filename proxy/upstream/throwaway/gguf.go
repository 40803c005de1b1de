package throwaway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// ReciteModel writes a language model in GGUF version 3 (ggml's docs/gguf.md)
// that recites: after the prompt, whatever it is, it says the pieces one by
// one, each a token, and ends. It is a real Llama without attention: a token's
// embedding is a unit vector, the blocks add nothing, and the output matrix
// leads from each piece to the next. A space in a piece is written ▁.
func ReciteModel(pieces []string) []byte {
	const special = 3 // unknown, begin, end
	first := special + 256
	vocabulary := first + len(pieces)
	width := (vocabulary + 31) / 32 * 32
	tokens := []any{"<unk>", "<s>", "</s>"}
	scores, kinds := []any{float32(0), float32(0), float32(0)}, []any{int32(2), int32(3), int32(3)}
	for b := range 256 {
		tokens, scores, kinds = append(tokens, fmt.Sprintf("<0x%02X>", b)), append(scores, float32(0)), append(kinds, int32(6))
	}
	for i, p := range pieces {
		tokens, scores, kinds = append(tokens, p), append(scores, float32(-i-1)), append(kinds, int32(1))
	}
	g := &gguf{}
	u32 := func(key string, v int) { g.meta(key, uint32(v)) }
	g.meta("general.architecture", "llama")
	g.meta("general.name", "recite")
	u32("llama.context_length", 2048)
	u32("llama.embedding_length", width)
	u32("llama.block_count", 1)
	u32("llama.feed_forward_length", 32)
	u32("llama.attention.head_count", 4)
	u32("llama.attention.head_count_kv", 4)
	u32("llama.rope.dimension_count", width/4)
	u32("llama.vocab_size", vocabulary)
	g.meta("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	g.meta("tokenizer.ggml.model", "llama")
	g.meta("tokenizer.ggml.tokens", tokens)
	g.meta("tokenizer.ggml.scores", scores)
	g.meta("tokenizer.ggml.token_type", kinds)
	u32("tokenizer.ggml.unknown_token_id", 0)
	u32("tokenizer.ggml.bos_token_id", 1)
	u32("tokenizer.ggml.eos_token_id", 2)

	embedding, output := make([]float32, vocabulary*width), make([]float32, vocabulary*width)
	for from := range vocabulary {
		embedding[from*width+from] = 1
		to := first // a prompt's last token leads to the first piece
		switch {
		case from == vocabulary-1:
			to = 2
		case from >= first:
			to = from + 1
		}
		output[to*width+from] = 10
	}
	ones := make([]float32, width)
	for i := range ones {
		ones[i] = 1
	}
	zeros := func(n int) []float32 { return make([]float32, n) }
	g.tensor("token_embd.weight", embedding, width, vocabulary)
	g.tensor("output_norm.weight", ones, width)
	g.tensor("output.weight", output, width, vocabulary)
	g.tensor("blk.0.attn_norm.weight", ones, width)
	for _, name := range []string{"attn_q", "attn_k", "attn_v", "attn_output"} {
		g.tensor("blk.0."+name+".weight", zeros(width*width), width, width)
	}
	g.tensor("blk.0.ffn_norm.weight", ones, width)
	g.tensor("blk.0.ffn_gate.weight", zeros(width*32), width, 32)
	g.tensor("blk.0.ffn_up.weight", zeros(width*32), width, 32)
	g.tensor("blk.0.ffn_down.weight", zeros(width*32), 32, width)
	return g.bytes()
}

// gguf collects a file's parts.
type gguf struct {
	metas, tensors int
	head, infos    bytes.Buffer
	data           bytes.Buffer
}

func put(b *bytes.Buffer, v any) { _ = binary.Write(b, binary.LittleEndian, v) } // to a Buffer: never fails

func putString(b *bytes.Buffer, s string) {
	put(b, uint64(len(s)))
	b.WriteString(s)
}

func (g *gguf) meta(key string, v any) {
	g.metas++
	putString(&g.head, key)
	put(&g.head, typeOf(v))
	if list, ok := v.([]any); ok {
		put(&g.head, typeOf(list[0]))
		put(&g.head, uint64(len(list)))
		for _, e := range list {
			putValue(&g.head, e)
		}
		return
	}
	putValue(&g.head, v)
}

func putValue(b *bytes.Buffer, v any) {
	if s, ok := v.(string); ok {
		putString(b, s)
		return
	}
	put(b, v)
}

// typeOf is gguf_metadata_value_type.
func typeOf(v any) uint32 {
	switch v.(type) {
	case uint32:
		return 4
	case int32:
		return 5
	case float32:
		return 6
	case string:
		return 8
	}
	return 9 // array
}

func (g *gguf) tensor(name string, values []float32, dims ...int) {
	g.tensors++
	putString(&g.infos, name)
	put(&g.infos, uint32(len(dims)))
	for _, d := range dims {
		put(&g.infos, uint64(d))
	}
	put(&g.infos, uint32(0)) // F32
	put(&g.infos, uint64(g.data.Len()))
	for _, v := range values {
		put(&g.data, math.Float32bits(v))
	}
	align(&g.data)
}

func align(b *bytes.Buffer) {
	for b.Len()%32 != 0 {
		b.WriteByte(0)
	}
}

func (g *gguf) bytes() []byte {
	var b bytes.Buffer
	b.WriteString("GGUF")
	put(&b, uint32(3))
	put(&b, uint64(g.tensors))
	put(&b, uint64(g.metas))
	b.Write(g.head.Bytes())
	b.Write(g.infos.Bytes())
	align(&b)
	b.Write(g.data.Bytes())
	return b.Bytes()
}
