package examples_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"
)

// vaultCLI does what the pages ask of the program "vault", in its words and against the real server. VAULT_ADDR, VAULT_CACERT and VAULT_TOKEN count as they
// do for the real program.
func vaultCLI(args []string, in io.Reader, out, errOut io.Writer) int {
	if err := vaultCommand(args, in, out); err != nil {
		fmt.Fprintln(errOut, "vault:", err)
		return 2
	}
	return 0
}

var errUsage = errors.New("this stand-in for Vault's program does not know the command")

func vaultCommand(args []string, in io.Reader, out io.Writer) error {
	client, err := api.NewClient(nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	var words []string
	flags := map[string]string{}
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "-"); ok && name != "" {
			name, value, _ := strings.Cut(name, "=")
			flags[name] = value
			continue
		}
		words = append(words, arg)
	}
	flag := func(name, otherwise string) string {
		value, ok := flags[name]
		delete(flags, name)
		if !ok {
			return otherwise
		}
		return value
	}
	if len(words) < 2 {
		return fmt.Errorf("%w %q", errUsage, args)
	}
	var secret *api.Secret
	field, format := flag("field", ""), flag("format", "")
	switch verb := strings.Join(words[:2], " "); {
	case verb == "secrets enable" && len(words) == 3:
		options := map[string]string{}
		if version := flag("version", ""); version != "" {
			options["version"] = version
		}
		input := &api.MountInput{Type: words[2], Options: options}
		input.Config.PluginVersion = flag("plugin-version", "")
		err = client.Sys().MountWithContext(ctx, flag("path", words[2]), input)
	case verb == "auth enable" && len(words) == 3:
		input := &api.EnableAuthOptions{Type: words[2]}
		input.Config.PluginVersion = flag("plugin-version", "")
		err = client.Sys().EnableAuthWithOptionsWithContext(ctx, flag("path", words[2]), input)
	case verb == "policy write" && len(words) == 4:
		var text []byte
		if text, err = readFile(words[3], in); err == nil {
			err = client.Sys().PutPolicyWithContext(ctx, words[2], string(text))
		}
	case verb == "plugin register" && len(words) == 4:
		var kind api.PluginType
		if kind, err = api.ParsePluginType(words[2]); err == nil {
			err = client.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
				Name: words[3], Type: kind, Command: flag("command", words[3]), Args: strings.Fields(flag("args", "")),
				SHA256: flag("sha256", ""), Version: flag("version", ""),
			})
		}
	case words[0] == "read" && len(words) == 2:
		secret, err = client.Logical().ReadWithContext(ctx, words[1])
	case words[0] == "list" && len(words) == 2:
		secret, err = client.Logical().ListWithContext(ctx, words[1])
	case words[0] == "write":
		var data map[string]any
		flag("f", "")
		if data, err = pairs(words[2:], in); err == nil {
			secret, err = client.Logical().WriteWithContext(ctx, words[1], data)
		}
	default:
		return fmt.Errorf("%w %q", errUsage, args)
	}
	switch {
	case err != nil:
		return err
	case len(flags) != 0:
		return fmt.Errorf("%w with the flags %q", errUsage, slices.Sorted(maps.Keys(flags)))
	case field != "":
		if secret == nil || secret.Data[field] == nil {
			return fmt.Errorf("there is no field %s", field)
		}
		_, err = fmt.Fprintf(out, "%v", secret.Data[field])
	case format == "json" && words[0] == "list" && secret != nil:
		err = json.NewEncoder(out).Encode(secret.Data["keys"])
	case secret != nil:
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(secret.Data)
	}
	return err
}

// pairs reads NAME=VALUE; a value @FILE is what the file holds, and - what standard input does. A - alone is a JSON object there.
func pairs(words []string, in io.Reader) (map[string]any, error) {
	data := map[string]any{}
	if len(words) == 1 && words[0] == "-" {
		return data, json.NewDecoder(in).Decode(&data)
	}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not NAME=VALUE", word)
		}
		if file, ok := strings.CutPrefix(value, "@"); ok || value == "-" {
			if !ok {
				file = "-"
			}
			text, err := readFile(file, in)
			if err != nil {
				return nil, err
			}
			value = string(text)
		}
		data[name] = value
	}
	return data, nil
}

func readFile(name string, in io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(name)
}
