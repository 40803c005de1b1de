package throwaway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Models is a running Ollama, a server that speaks OpenAI's API among others.
type Models struct {
	URL     string // http://127.0.0.1:PORT
	LogFile string
	dir     string
	clean   func() error
	process *process
}

// Ollama starts the Ollama that `make setup-tests` built, with models that
// recite (ReciteModel), by name. It returns once they answer. The caller stops
// it.
func Ollama(ctx context.Context, models map[string][]string) (*Models, error) {
	m, err := startOllama(ctx, models)
	if err != nil {
		return nil, fmt.Errorf("starting a throwaway Ollama: %w", err)
	}
	return m, nil
}

func startOllama(ctx context.Context, models map[string][]string) (*Models, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cache, "ollama", "ollama")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("Ollama is %w: run `make setup-tests`", ErrNotInstalled)
	}
	as, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, clean, err := home("", as)
	if err != nil {
		return nil, err
	}
	m := &Models{LogFile: filepath.Join(dir, "log"), dir: dir, clean: clean}
	if err := m.launch(ctx, path, as); err != nil {
		_ = m.Stop()
		return nil, err
	}
	for name, pieces := range models {
		if err := m.create(ctx, name, pieces); err != nil {
			_ = m.Stop()
			return nil, fmt.Errorf("making the model %s: %w%s", name, err, tail(m.LogFile))
		}
	}
	return m, nil
}

func (m *Models) launch(ctx context.Context, path string, as account) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	log, err := openLog(m.LogFile, as)
	if err != nil {
		return err
	}
	defer log.Close()
	host := fmt.Sprintf("127.0.0.1:%d", port)
	m.URL = "http://" + host
	m.process, err = program{as: as, dir: m.dir, log: log, path: path, args: []string{"serve"}, env: []string{
		"HOME=" + m.dir, "OLLAMA_HOST=" + host, "OLLAMA_MODELS=" + filepath.Join(m.dir, "models"), "OLLAMA_NUM_PARALLEL=2", "OLLAMA_CONTEXT_LENGTH=1024",
	}}.start()
	if err != nil {
		return err
	}
	err = await(ctx, m.process, func() (bool, error) {
		_, err := m.ask(ctx, http.MethodGet, "/api/version", nil)
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w%s", err, tail(m.LogFile))
	}
	return nil
}

// create uploads a model and makes it.
func (m *Models) create(ctx context.Context, name string, pieces []string) error {
	file := ReciteModel(pieces)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(file))
	if _, err := m.ask(ctx, http.MethodPost, "/api/blobs/"+digest, file); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"model": name, "files": map[string]string{"model.gguf": digest}, "stream": false,
		"template": "{{ range .Messages }}{{ .Content }}\n{{ end }}", "parameters": map[string]any{"temperature": 0},
	})
	if err != nil {
		return err
	}
	_, err = m.ask(ctx, http.MethodPost, "/api/create", body)
	return err
}

func (m *Models) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, m.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, answer)
	}
	return answer, err
}

// Stop ends the server and its models, and removes what they wrote.
func (m *Models) Stop() error {
	if m.process != nil {
		m.process.stop(5*time.Second, syscall.SIGTERM)
	}
	if m.clean == nil {
		return nil
	}
	return m.clean()
}
