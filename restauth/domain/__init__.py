"""What an account and a session may do: the rules that need a store, a key ring or a clock."""
