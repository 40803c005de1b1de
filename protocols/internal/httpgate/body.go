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
	"time"

	"github.com/klauspost/compress/zstd"
)

// bodyTime is how long a client may take to send a body.
var bodyTime = time.Minute

// readBody reads a request's body out of its content encoding, at most limit
// bytes, into buf where it fits.
func readBody(w http.ResponseWriter, r *http.Request, limit int, buf []byte) (body []byte, mediaType string, err error) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil, "", nil
	}
	tooLarge := Problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the request's body has more than %d bytes", limit), "limits.message in the configuration is the limit.")
	if r.ContentLength > int64(limit) {
		return nil, "", tooLarge
	}
	if t := r.Header.Get("Content-Type"); t == jsonType {
		mediaType = jsonType
	} else if t != "" {
		var params map[string]string
		mediaType, params, err = mime.ParseMediaType(t)
		if charset := params["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
			return nil, "", Problem(http.StatusUnsupportedMediaType, "the request's Content-Type is not understood, or names another charset than UTF-8", "")
		}
	}
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Now().Add(bodyTime)); err != nil {
		return nil, "", err
	}
	in, err := decoded(r.Body, r.Header.Values("Content-Encoding"))
	if err != nil {
		return nil, "", err
	}
	body = buf[:0]
	if n := min(r.ContentLength+512, int64(limit)); n > int64(cap(body)) {
		body = make([]byte, 0, n)
	}
	body, err = readAll(body, io.LimitReader(in, int64(limit)+1))
	var timeout net.Error
	switch {
	case len(body) > limit:
		return nil, "", tooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, "", Problem(http.StatusRequestTimeout, "the request's body did not come in time", "")
	case err != nil:
		return nil, "", Problem(http.StatusBadRequest, "the request's body is broken, or not in the encoding that it names", "")
	}
	return body, mediaType, rc.SetReadDeadline(time.Time{})
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
func decoded(r io.Reader, encodings []string) (io.Reader, error) {
	broken := func(err error) error {
		if err == nil {
			return nil
		}
		return Problem(http.StatusBadRequest, "the request's body is not in the encoding that it names", "")
	}
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(encodings, ",")))
	switch encoding {
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
