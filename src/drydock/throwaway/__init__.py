"""The throwaway server that a checkout's tests share: beside the developer's own, in memory, without durability."""
