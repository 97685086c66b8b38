// Probe is the only program in the test pods: an HTTP server, an HTTP client, a resolver and a file.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const timeout = 3 * time.Second

func main() {
	if err := run(os.Args[1], os.Args[2:]...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command string, arguments ...string) error {
	switch command {
	case "serve":
		fmt.Println("serving")
		return http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello %s", r.URL.Path)
		}))
	case "get":
		return get(arguments[0])
	case "resolve":
		addresses, err := net.LookupHost(arguments[0])
		fmt.Println(addresses)
		return err
	case "dial":
		connection, err := net.DialTimeout("tcp", arguments[0], timeout)
		if err == nil {
			defer connection.Close()
		}
		return err
	case "write":
		return os.WriteFile(arguments[0], []byte(arguments[1]), 0o600)
	case "read":
		content, err := os.ReadFile(arguments[0])
		fmt.Print(string(content))
		return err
	}
	return fmt.Errorf("unknown command %s", command)
}

func get(url string) error {
	client := http.Client{Timeout: timeout}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	fmt.Print(string(body))
	return err
}
