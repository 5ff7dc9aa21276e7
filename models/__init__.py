"""Networks and what they are trained on. Imports nothing of the other rooms."""
import keras2
