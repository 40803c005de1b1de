package httpgate

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// readBody reads the request's body out of its content encoding, at most
// limit bytes. One that is there already is not copied.
func (g *gate) readBody(limit int) (body []byte, mediaType string, err error) {
	h := &g.head
	if h.length == 0 {
		return nil, "", nil
	}
	tooLarge := func() error {
		return Problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the request's body has more than %d bytes", limit), "limits.message in the configuration is the limit.")
	}
	if h.length > int64(limit) {
		return nil, "", tooLarge()
	}
	if mediaType, err = mediaTypeOf(h.contentType); err != nil {
		return nil, "", err
	}
	if g.continues && g.in.buffered() == 0 { // RFC 9110 §10.1.1
		if _, err := g.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
			return nil, "", err
		}
	}
	if h.encoding == "" {
		if body, ok := g.body.whole(); ok {
			return body, mediaType, nil
		}
	}
	in, err := decoded(&g.body, h.encoding)
	if err != nil {
		return nil, "", err
	}
	body = g.buf[:0]
	if n := min(h.length+512, int64(limit)+1); n > int64(cap(body)) {
		body = make([]byte, 0, n)
	}
	body, err = readAll(body, io.LimitReader(in, int64(limit)+1))
	if cap(body) <= keptBody {
		g.buf = body
	}
	var timeout net.Error
	switch {
	case len(body) > limit:
		return nil, "", tooLarge()
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, "", Problem(http.StatusRequestTimeout, "the request's body did not come in time", "")
	case err != nil:
		return nil, "", Problem(http.StatusBadRequest, "the request's body is broken, or not in the encoding that it names", "")
	}
	return body, mediaType, nil
}

// mediaTypeOf is a Content-Type without its parameters, in lower case.
func mediaTypeOf(contentType string) (string, error) {
	if contentType == jsonType || contentType == "" {
		return contentType, nil
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if charset := params["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", Problem(http.StatusUnsupportedMediaType, "the request's Content-Type is not understood, or names another charset than UTF-8", "")
	}
	return mediaType, nil
}

func readAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// decoded undoes one content encoding.
func decoded(r io.Reader, encoding string) (io.Reader, error) {
	broken := func(err error) error {
		if err == nil {
			return nil
		}
		return Problem(http.StatusBadRequest, "the request's body is not in the encoding that it names", "")
	}
	switch encoding = strings.ToLower(encoding); encoding {
	case "", "identity":
		return r, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(r)
		return z, broken(err)
	case "deflate": // RFC 9110 §8.4.1.2: the zlib format
		z, err := zlib.NewReader(r)
		return z, broken(err)
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, broken(err)
		}
		return z, nil
	}
	return nil, Problem(http.StatusUnsupportedMediaType, "the request's Content-Encoding "+quoted(encoding)+" is not taken", "Send it as it is, or in gzip, deflate or zstd.")
}
