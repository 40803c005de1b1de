package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// nginxConf is a reverse proxy as it is set up for speed: connections to the
// upstream are kept, nothing is logged, no answer goes through a file.
const nginxConf = `daemon off;
%[1]s
worker_processes auto;
pid %[2]s/pid;
error_log %[2]s/error.log;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	proxy_max_temp_file_size 0;
	upstream store { server 127.0.0.1:%[3]d; keepalive 64; keepalive_requests 100000000; }
	server {
		listen 127.0.0.1:%[4]d;
		keepalive_requests 100000000;
		client_max_body_size 10m;
		location / {
			proxy_pass http://store;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`

// startNginx runs Debian's nginx before a port.
func startNginx(ctx context.Context, dir string, upstream int) (w way, stop func(), err error) {
	path := "/usr/sbin/nginx"
	if _, err := os.Stat(path); err != nil {
		if path, err = exec.LookPath("nginx"); err != nil {
			return w, nil, fmt.Errorf("nginx is not installed: run `make setup-tests`: %w", err)
		}
	}
	w = way{name: "nginx", host: "127.0.0.1"}
	if w.port, err = freePort(); err != nil {
		return w, nil, err
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // the folder is ours alone
	}
	conf, err := write(dir, "nginx.conf", fmt.Sprintf(nginxConf, user, dir, upstream, w.port))
	if err != nil {
		return w, nil, err
	}
	cmd := exec.CommandContext(ctx, path, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", conf)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends its workers
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return w, nil, err
	}
	stop = func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", w.address()); err == nil {
			_ = c.Close()
			break
		} else if time.Now().After(deadline) {
			stop()
			said, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			return w, nil, fmt.Errorf("nginx does not listen: %w\n%s", err, said)
		}
	}
	w.pid = cmd.Process.Pid
	w.workers, err = children(w.pid)
	if err != nil {
		stop()
	}
	return w, stop, err
}

// children are a process's own.
//
// Source: proc(5), /proc/pid/stat, ppid.
func children(pid int) (out []int, err error) {
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if f[1] == strconv.Itoa(pid) {
			n, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				return nil, err
			}
			out = append(out, n)
		}
	}
	return out, err
}
